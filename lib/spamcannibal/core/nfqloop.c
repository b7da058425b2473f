/* See nfqloop.h. In the order of understanding: one batch, one turn, the loop. */
#include "nfqloop.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "nfqwire.h"

enum {
    BATCH = 128,
    MESSAGE_OVERHEAD_BYTES = 256, /* netlink headers and attributes before the payload: about 170 at most */
    MESSAGE_COST_BYTES = 2048,    /* of one waiting message, as the kernel accounts its buffer; seen: under 1400 */
    DUE_BATCH = 64,
    IDLE_MS = 500,                /* longest wait, so that `turns` shows life */
    SEND_TRIES = 20,              /* of 1 ms each */
    NF_DROP = 0,
    NF_ACCEPT = 1,
};

struct nfqloop {
    struct nfqloop_settings settings;
    int stop_fd;
    atomic_bool stopping;

    int lost;          /* errno if the kernel says that the queue is not ours any more */
    uint64_t asked_ms; /* when it was last asked about that */
    uint32_t last_id;
    bool owes_verdict; /* the last verdicts were not taken; they were for packets up to owed_id */
    uint32_t owed_id;

    struct judge judge;
    struct judged items[BATCH];
    uint32_t ids[BATCH];
    struct trap_byte due[DUE_BATCH];
    uint8_t verdicts[BATCH][NFQWIRE_VERDICT_BYTES];
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    size_t room; /* bytes of each receive buffer */
    uint8_t *buffers;
};

/* ---- One batch ---- */

static struct link_addr peer_of(const struct nfq_packet *m)
{
    struct link_addr peer = {.ifindex = (int32_t)m->indev};
    if (m->hwlen == sizeof peer.mac) {
        peer.mac_len = m->hwlen;
        memcpy(peer.mac, m->hwaddr, sizeof peer.mac);
    }
    return peer;
}

/* Packets may be gone by the time of their verdict (ENOENT), but a queue that is no longer ours is lost for good. */
static void note_refusal(struct nfqloop *l, int error)
{
    l->judge.counts.refused += error != 0;
    if (error == ENODEV || error == EPERM)
        l->lost = error;
}

/* The kernel puts one message in a datagram. Returns how many of them are packets, and sets what it can
 * about each; a packet whose message is beyond reading shares the verdict of the one after it. */
static unsigned read_batch(struct nfqloop *l, unsigned received)
{
    unsigned count = 0;
    for (unsigned i = 0; i < received; i++) {
        struct nfq_packet message;
        size_t used, len = l->messages[i].msg_len < l->room ? l->messages[i].msg_len : l->room;
        enum nfq_kind kind = nfqwire_parse(l->parts[i].iov_base, len, &message, &used);

        l->judge.counts.malformed += kind == NFQ_MALFORMED || kind == NFQ_NO_ID;
        if (kind == NFQ_ERROR)
            note_refusal(l, message.error);
        if (kind != NFQ_PACKET)
            continue;
        l->judge.counts.unseen += message.id - l->last_id - 1;
        l->ids[count] = l->last_id = message.id;
        l->items[count].peer = peer_of(&message);
        judge_decode(&l->judge, &l->items[count++], message.data, message.caplen);
    }
    return count;
}

/* 0, or the errno that says that this queue is lost to us. What may pass is waited for, but not for long: the
 * next verdicts speak for these packets too. */
static int send_verdicts(struct nfqloop *l, size_t len, uint32_t last_id)
{
    for (int tries = 0; tries < SEND_TRIES; tries++) {
        if (send(l->settings.fd, l->verdicts, len, MSG_DONTWAIT) >= 0) {
            l->owes_verdict = false;
            return 0;
        }
        if (errno != EINTR && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
            return errno;
        poll(NULL, 0, 1);
    }
    l->judge.counts.verdicts_late++;
    l->owes_verdict = true;
    l->owed_id = last_id;
    return 0;
}

/* Messages come in the order of their ids and so do verdicts: one for each run of equal ones, each about the
 * head of the kernel's list, which it walks from there. */
static int answer_batch(struct nfqloop *l, unsigned count)
{
    unsigned runs = 0;
    for (unsigned i = 0; i < count; i++) {
        bool is_dropped = l->items[i].is_dropped;
        if (i + 1 == count || l->items[i + 1].is_dropped != is_dropped)
            nfqwire_verdict_upto(l->verdicts[runs++], l->settings.queue, l->ids[i], is_dropped ? NF_DROP : NF_ACCEPT);
    }
    return send_verdicts(l, runs * sizeof l->verdicts[0], l->ids[count - 1]);
}

static int process_batch(struct nfqloop *l, unsigned received)
{
    judge_begin(&l->judge);
    unsigned count = read_batch(l, received);
    judge_batch(&l->judge, l->items, count);
    if (count == 0)
        return 0;
    l->judge.counts.batches++;
    int error = answer_batch(l, count);
    judge_note(&l->judge, l->items, count);
    return error;
}

/* ---- One turn ---- */

static uint64_t milliseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* How many messages came; *error is set when the queue is lost. */
static unsigned receive(struct nfqloop *l, int *error)
{
    int received = recvmmsg(l->settings.fd, l->messages, BATCH, MSG_DONTWAIT, NULL);
    if (received >= 0)
        return (unsigned)received;
    if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
        *error = errno;
    return 0;
}

static void send_due(struct nfqloop *l)
{
    size_t count = trap_due(l->judge.trap, &l->judge.config, l->judge.clock_ms, l->due, DUE_BATCH);
    for (size_t i = 0; i < count; i++)
        judge_reply(&l->judge, &l->due[i].link, &l->due[i].reply);
}

/* Nothing follows to speak for the packets of a lost verdict: let them pass. */
static int pay_verdict(struct nfqloop *l)
{
    nfqwire_verdict_upto(l->verdicts[0], l->settings.queue, l->owed_id, NF_ACCEPT);
    return send_verdicts(l, sizeof l->verdicts[0], l->owed_id);
}

/* Asking for what is set already changes nothing, but brings an error if somebody unbound the queue. */
static int set_flags(struct nfqloop *l)
{
    uint8_t message[NFQWIRE_FLAGS_BYTES];
    /* GSO: take packets as they are, without splitting them and completing their checksums first. */
    nfqwire_set_flags(message, l->settings.queue, NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO);
    return send(l->settings.fd, message, sizeof message, MSG_DONTWAIT) < 0 ? -1 : 0;
}

static void wait_for_work(struct nfqloop *l)
{
    struct pollfd sources[] = {
        {.fd = l->settings.fd, .events = POLLIN},
        {.fd = l->stop_fd, .events = POLLIN},
    };
    uint64_t now_ms = milliseconds(CLOCK_MONOTONIC), due_ms = trap_next_due(l->judge.trap);
    uint64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    if (poll(sources, 2, wait_ms < IDLE_MS ? (int)wait_ms : IDLE_MS) == 0 && now_ms >= l->asked_ms + IDLE_MS) {
        l->asked_ms = now_ms;
        set_flags(l);
    }
}

static int turn(struct nfqloop *l)
{
    int error = 0;
    unsigned received = receive(l, &error);

    l->judge.counts.turns++;
    l->judge.clock_ms = milliseconds(CLOCK_MONOTONIC);
    l->judge.epoch_ms = milliseconds(CLOCK_REALTIME);
    trap_config(l->judge.trap, &l->judge.config);
    if (received)
        error = process_batch(l, received);
    else if (!error && l->owes_verdict)
        error = pay_verdict(l);
    send_due(l);
    links_flush(l->judge.links);
    /* A full batch means that more is waiting already. */
    if (!error && received < BATCH)
        wait_for_work(l);
    return error ? error : l->lost;
}

/* ---- The loop ---- */

int nfqloop_run(struct nfqloop *l)
{
    int error = 0;
    while (!error && !atomic_load_explicit(&l->stopping, memory_order_relaxed))
        error = turn(l);
    return error;
}

void nfqloop_stop(struct nfqloop *l)
{
    uint64_t one = 1;
    atomic_store(&l->stopping, true);
    ssize_t written = write(l->stop_fd, &one, sizeof one);
    (void)written; /* fails only when it is full of earlier stops */
}

static int prepare_socket(struct nfqloop *l)
{
    const struct nfqloop_settings *s = &l->settings;
    uint64_t wanted = (uint64_t)s->queue_length * MESSAGE_COST_BYTES;
    int on = 1, size = wanted < INT32_MAX ? (int)(wanted / 2) : INT32_MAX / 2; /* the kernel doubles it */

    /* A full buffer is no error to us: the kernel fails open and leaves a gap in the packets' numbers, by which we
     * count it. Of a full queue it leaves no trace, so the queue is to be set longer than the buffer. */
    setsockopt(s->fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
    setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    return set_flags(l);
}

static int prepare(struct nfqloop *l)
{
    uint64_t seed[2];
    l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->room = l->settings.copy_bytes + MESSAGE_OVERHEAD_BYTES;
    l->buffers = calloc(BATCH, l->room);
    if (l->stop_fd < 0 || !l->buffers || getrandom(seed, sizeof seed, 0) != sizeof seed)
        return -1;
    l->judge.sightings = sight_new(l->settings.sightings, seed);
    l->judge.links = links_open();
    if (!l->judge.sightings || !l->judge.links)
        return -1;
    for (int i = 0; i < BATCH; i++) {
        l->parts[i] = (struct iovec){.iov_base = l->buffers + i * l->room, .iov_len = l->room};
        l->messages[i].msg_hdr.msg_iov = &l->parts[i];
        l->messages[i].msg_hdr.msg_iovlen = 1;
    }
    return prepare_socket(l);
}

struct nfqloop *nfqloop_open(const struct nfqloop_settings *settings)
{
    struct nfqloop *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->settings = *settings;
    l->stop_fd = -1;
    l->judge.table = settings->table;
    l->judge.trap = settings->trap;
    trap_config(settings->trap, &l->judge.config);
    if (prepare(l) < 0) {
        int error = errno;
        nfqloop_close(l);
        errno = error;
        return NULL;
    }
    return l;
}

void nfqloop_close(struct nfqloop *l)
{
    if (!l)
        return;
    links_close(l->judge.links);
    sight_free(l->judge.sightings);
    free(l->buffers);
    if (l->stop_fd >= 0)
        close(l->stop_fd);
    free(l);
}

struct judge *nfqloop_judge(struct nfqloop *l) { return &l->judge; }

/* Read while the loop counts: each number is whole (64-bit loads), together they may be a packet apart. */
void nfqloop_counts(const struct nfqloop *l, struct judge_counts *out)
{
    const uint64_t *from = (const uint64_t *)&l->judge.counts;
    uint64_t *to = (uint64_t *)out;
    for (size_t i = 0; i < sizeof *out / sizeof *to; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    out->replies = links_counts(l->judge.links)->sent;
    out->replies_failed = links_counts(l->judge.links)->failed;
}
