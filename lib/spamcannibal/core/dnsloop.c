/* See dnsloop.h. In the order of understanding: what is asked, one batch, one turn, the loop. */
#include "dnsloop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "addrtable.h"
#include "dnssend.h"
#include "rrl.h"
#include "shelf.h"
#include "talkers.h"

enum {
    BATCH = DNSSEND_MAX,
    IDLE_MS = 500,  /* longest wait, so that `turns` shows life */
    SAMPLE = 16,    /* one in so many queries is noted among the talkers, for all of them */
    STRIDE = 64,    /* beside the size of a buffer, so that they do not all fall into the same lines of the cache */
};

struct endpoint {
    int fd;
    bool is_wildcard;
};

struct dnsloop {
    struct dnsloop_settings settings;
    struct endpoint endpoints[DNSLOOP_SOCKETS];
    struct pollfd sources[DNSLOOP_SOCKETS + 1]; /* the last is for stopping */
    int stop_fd, ask_fd;
    atomic_bool stopping;

    pthread_mutex_t view_lock; /* held during a batch, for what `serve` answers from */
    struct dnsserve serve;

    _Atomic uint64_t asks_in, asks_out;
    struct dnsloop_ask *asks;

    struct dnsitem items[BATCH];
    struct mmsghdr incoming[BATCH];
    struct iovec parts[BATCH];
    struct dnssend out;
    uint8_t *buffers;
};

/* ---- What is asked ---- */

/* False: the ring is full. */
static bool ask(struct dnsloop *l, const struct dnsitem *i)
{
    uint64_t in = atomic_load_explicit(&l->asks_in, memory_order_relaxed);

    if (in - atomic_load_explicit(&l->asks_out, memory_order_acquire) == l->settings.asks)
        return false;
    struct dnsloop_ask *a = &l->asks[in % l->settings.asks];
    a->peer = i->peer;
    a->size = (uint16_t)i->size;
    memcpy(a->query, i->data, i->size);
    atomic_store_explicit(&l->asks_in, in + 1, memory_order_release);
    return true;
}

int dnsloop_ask_fd(const struct dnsloop *l) { return l->ask_fd; }

const struct dnsloop_ask *dnsloop_ask(struct dnsloop *l)
{
    uint64_t out = atomic_load_explicit(&l->asks_out, memory_order_relaxed);
    eventfd_t ignored;

    if (out == atomic_load_explicit(&l->asks_in, memory_order_acquire)) {
        eventfd_read(l->ask_fd, &ignored);
        if (out == atomic_load_explicit(&l->asks_in, memory_order_acquire))
            return NULL;
    }
    return &l->asks[out % l->settings.asks];
}

void dnsloop_ask_drop(struct dnsloop *l)
{
    atomic_fetch_add_explicit(&l->asks_out, 1, memory_order_release);
}

/* ---- One batch ---- */

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Answer what came, from one view; how many Python is asked. */
static unsigned answer(struct dnsloop *l, unsigned n)
{
    struct dnsserve *s = &l->serve;
    unsigned asked = 0;

    pthread_mutex_lock(&l->view_lock);
    const struct dnsview *v = s->view;
    for (unsigned i = 0; v && i < v->n_shelves; i++)
        at_rdlock(shelf_table(v->shelves[i]));
    for (unsigned i = 0; i < n; i++)
        dnsserve_read(s, &l->items[i], l->incoming[i].msg_hdr.msg_flags & MSG_TRUNC);
    for (unsigned i = 0; i < n; i++) {
        struct dnsitem *item = &l->items[i];

        if (dnsserve_answer(s, item))
            continue;
        if (ask(l, item)) {
            asked++;
            continue;
        }
        s->counts.asks_shed++;
        item->reply_size = dns_bare(item->data, DNS_SERVFAIL, item->reply);
        item->rcode = DNS_SERVFAIL;
    }
    for (unsigned i = 0; v && i < v->n_shelves; i++)
        at_rdunlock(shelf_table(v->shelves[i]));
    pthread_mutex_unlock(&l->view_lock);
    s->counts.asked += asked;
    return asked;
}

/* Send a reply, cut or not, or drop it. */
static void dispatch(struct dnsloop *l, struct dnsitem *i, enum rrl_verdict verdict)
{
    l->serve.counts.limited += verdict == RRL_DROP;
    l->serve.counts.slipped += verdict == RRL_SLIP;
    if (verdict == RRL_DROP)
        return;
    if (verdict == RRL_SLIP && i->kind == DNS_QUERY)
        i->reply_size = dns_cut(&i->query, i->reply);
    dnssend_add(&l->out, &i->peer, i->reply, i->reply_size);
}

static void note_talker(struct dnsloop *l, const struct dnsitem *i, unsigned at, enum rrl_verdict verdict)
{
    if (verdict != RRL_SEND)
        talkers_note(l->settings.talkers, i->addr, i->addrlen, 1, 1);
    else if (l->serve.counts.queries % SAMPLE == at % SAMPLE)
        talkers_note(l->settings.talkers, i->addr, i->addrlen, SAMPLE, 0);
}

static struct rrl_reply judged(const struct dnsitem *i)
{
    bool is_error = i->rcode != DNS_NOERROR && i->rcode != DNS_NXDOMAIN;

    return (struct rrl_reply){
        .addr = i->addr,
        .addrlen = i->addrlen,
        .name = i->query.name,
        .name_size = is_error ? 0 : i->query.name_size,
        .rcode = i->rcode,
        .qtype = i->query.qtype,
        .is_free = i->is_trusted || !i->addrlen,
    };
}

static void send_all(struct dnsloop *l, unsigned socket, unsigned n)
{
    struct rrl_reply replies[BATCH];
    struct dnsitem *due[BATCH];
    unsigned n_due = 0;

    for (unsigned i = 0; i < n; i++)
        if (l->items[i].reply_size) {
            replies[n_due] = judged(&l->items[i]);
            due[n_due++] = &l->items[i];
        }
    if (l->settings.rrl)
        rrl_judge(l->settings.rrl, replies, n_due, now_ns());
    for (unsigned i = 0; i < n_due; i++) {
        if (l->settings.talkers && due[i]->addrlen)
            note_talker(l, due[i], i, replies[i].verdict);
        dispatch(l, due[i], replies[i].verdict);
    }
    struct dnssend_told told = dnssend_all(&l->out, l->endpoints[socket].fd);
    l->serve.counts.unsent += told.unsent;
    l->serve.counts.joined += told.joined;
}

static void process_batch(struct dnsloop *l, unsigned socket, unsigned n)
{
    struct dnsserve_counts *counts = &l->serve.counts;

    counts->batches++;
    counts->queries += n;
    l->serve.now_s = (uint32_t)time(NULL);
    for (unsigned i = 0; i < n; i++) {
        l->items[i].size = l->incoming[i].msg_len;
        l->items[i].peer.socket = (uint16_t)socket;
        dnspeer_note(&l->items[i].peer, &l->incoming[i].msg_hdr);
    }
    if (answer(l, n))
        eventfd_write(l->ask_fd, 1);
    send_all(l, socket, n);
}

/* ---- One turn ---- */

/* How many datagrams came; *error is set when the socket is lost. */
static unsigned receive(struct dnsloop *l, const struct endpoint *e, int *error)
{
    for (unsigned i = 0; i < BATCH; i++)
        dnspeer_expect(&l->items[i].peer, &l->incoming[i].msg_hdr, e->is_wildcard);
    int n = recvmmsg(e->fd, l->incoming, BATCH, MSG_DONTWAIT, NULL);
    if (n >= 0)
        return (unsigned)n;
    if (errno == EBADF || errno == ENOTSOCK || errno == EINVAL || errno == EFAULT)
        *error = errno;
    return 0; /* none there, or an error that an earlier reply met */
}

static int turn(struct dnsloop *l)
{
    unsigned received = 0;
    int error = 0;

    l->serve.counts.turns++;
    for (unsigned s = 0; s < l->settings.n_fds && !error; s++) {
        unsigned n = receive(l, &l->endpoints[s], &error);

        if (n)
            process_batch(l, s, n);
        received += n;
    }
    if (!error && !received)
        poll(l->sources, l->settings.n_fds + 1, IDLE_MS);
    return error;
}

/* ---- The loop ---- */

int dnsloop_run(struct dnsloop *l)
{
    int error = 0;

    while (!error && !atomic_load_explicit(&l->stopping, memory_order_relaxed))
        error = turn(l);
    return error;
}

void dnsloop_stop(struct dnsloop *l)
{
    atomic_store(&l->stopping, true);
    eventfd_write(l->stop_fd, 1);
}

int dnsloop_publish(struct dnsloop *l, const struct dnsview *view, struct dnsserve_zone_counts **before)
{
    struct dnsserve_zone_counts *counts = view ? calloc(view->zones.n + 1, sizeof *counts) : NULL;

    if (view && !counts)
        return -1;
    pthread_mutex_lock(&l->view_lock);
    *before = l->serve.zone_counts;
    l->serve.zone_counts = counts;
    l->serve.view = view;
    pthread_mutex_unlock(&l->view_lock);
    return 0;
}

void dnsloop_set_secrets(struct dnsloop *l, const uint8_t *secrets, size_t n)
{
    pthread_mutex_lock(&l->view_lock);
    l->serve.n_secrets = n < DNSSERVE_SECRETS ? n : DNSSERVE_SECRETS;
    memcpy(l->serve.secrets, secrets, l->serve.n_secrets * DNSCOOKIE_SECRET_BYTES);
    pthread_mutex_unlock(&l->view_lock);
}

void dnsloop_zone_counts(struct dnsloop *l, struct dnsserve_zone_counts *out, size_t n)
{
    pthread_mutex_lock(&l->view_lock);
    if (l->serve.view)
        memcpy(out, l->serve.zone_counts, (n < l->serve.view->zones.n ? n : l->serve.view->zones.n) * sizeof *out);
    pthread_mutex_unlock(&l->view_lock);
}

int dnsloop_send(const struct dnsloop *l, const struct dnspeer *peer, const uint8_t *reply, size_t size)
{
    struct dnspeer to = *peer;
    struct iovec part = {.iov_base = (void *)reply, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (to.socket >= l->settings.n_fds || to.name_size > sizeof to.name || to.control_size > sizeof to.control) {
        errno = EINVAL;
        return -1;
    }
    dnspeer_address(&to, &message);
    return sendmsg(l->endpoints[to.socket].fd, &message, MSG_DONTWAIT) < 0 ? -1 : 0;
}

static int prepare(struct dnsloop *l)
{
    size_t in = DNSLOOP_QUERY_BYTES + STRIDE, out = DNS_REPLY_BYTES + STRIDE;

    l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->ask_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->buffers = calloc(BATCH, in + out);
    l->asks = calloc(l->settings.asks, sizeof *l->asks); /* touched when used */
    if (l->stop_fd < 0 || l->ask_fd < 0 || !l->buffers || !l->asks)
        return -1;
    for (unsigned i = 0; i < BATCH; i++) {
        struct dnsitem *item = &l->items[i];

        item->data = l->buffers + i * in;
        item->reply = l->buffers + BATCH * in + i * out;
        l->parts[i] = (struct iovec){.iov_base = item->data, .iov_len = DNSLOOP_QUERY_BYTES};
        l->incoming[i].msg_hdr.msg_iov = &l->parts[i];
        l->incoming[i].msg_hdr.msg_iovlen = 1;
    }
    for (unsigned s = 0; s < l->settings.n_fds; s++) {
        int fd = l->settings.fds[s];

        l->endpoints[s] = (struct endpoint){.fd = fd, .is_wildcard = dnspeer_is_wildcard(fd)};
        l->sources[s] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    l->out.joins = dnssend_can_join(l->settings.fds[0]);
    l->sources[l->settings.n_fds] = (struct pollfd){.fd = l->stop_fd, .events = POLLIN};
    return 0;
}

struct dnsloop *dnsloop_open(const struct dnsloop_settings *settings)
{
    if (settings->n_fds < 1 || settings->n_fds > DNSLOOP_SOCKETS || settings->asks < 1) {
        errno = EINVAL;
        return NULL;
    }
    struct dnsloop *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->settings = *settings;
    l->serve.limit_bytes = settings->limit_bytes;
    l->stop_fd = l->ask_fd = -1;
    pthread_mutex_init(&l->view_lock, NULL);
    if (prepare(l) < 0) {
        int error = errno;
        dnsloop_close(l);
        errno = error;
        return NULL;
    }
    l->settings.fds = NULL; /* copied */
    return l;
}

void dnsloop_close(struct dnsloop *l)
{
    if (!l)
        return;
    if (l->stop_fd >= 0)
        close(l->stop_fd);
    if (l->ask_fd >= 0)
        close(l->ask_fd);
    pthread_mutex_destroy(&l->view_lock);
    free(l->serve.zone_counts);
    free(l->buffers);
    free(l->asks);
    free(l);
}

/* Read while the loop counts: each number is whole (64-bit loads), together they may be a query apart. */
void dnsloop_counts(const struct dnsloop *l, struct dnsserve_counts *out)
{
    const uint64_t *from = (const uint64_t *)&l->serve.counts;
    uint64_t *to = (uint64_t *)out;

    for (size_t i = 0; i < sizeof *out / sizeof *to; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
