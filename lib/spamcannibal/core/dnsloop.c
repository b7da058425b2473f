/* See dnsloop.h. In the order of understanding: peers, one query, one batch, one turn, the loop. */
#include "dnsloop.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "addrtable.h"
#include "dnscookie.h"
#include "rrl.h"
#include "shelf.h"
#include "talkers.h"

enum {
    BATCH = 64,
    IDLE_MS = 500,  /* longest wait, so that `turns` shows life */
    SEND_MS = 5,    /* longest wait for room in a send buffer */
    SAMPLE = 16,    /* one in so many queries is noted among the talkers, for all of them */
    STRIDE = 64,    /* beside the size of a buffer, so that they do not all fall into the same lines of the cache */
};

struct item {
    struct dnsloop_peer peer;
    struct dns_query query;
    uint8_t *data;
    size_t size;
    enum dns_kind kind;
    unsigned at; /* in the batch */
    bool is_trusted; /* brought a cookie of ours */
    uint8_t *reply;
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

    pthread_mutex_t view_lock; /* held during a batch */
    const struct dnsview *view;
    struct dnsloop_zone_counts *zone_counts; /* as many as the view has zones */
    uint8_t secrets[DNSLOOP_SECRETS][DNSCOOKIE_SECRET_BYTES];
    size_t n_secrets;

    _Atomic uint64_t asks_in, asks_out;
    struct dnsloop_ask *asks;

    struct dnsloop_counts counts;
    struct item items[BATCH];
    struct mmsghdr incoming[BATCH], outgoing[BATCH];
    struct iovec parts_in[BATCH], parts_out[BATCH];
    unsigned n_outgoing;
    uint64_t now_ns; /* of the batch */
    uint32_t now_s;  /* since the epoch */
    uint8_t *buffers;
};

const char *const dnsloop_count_names[] = {
    "turns", "batches", "queries", "type_a", "type_aaaa", "type_txt", "type_any", "type_other", "answered", "nodata",
    "nxdomain", "refused", "formerr", "cut", "silent", "asked", "asks_shed", "oversized", "unsent",
    "limited", "slipped", NULL,
};
_Static_assert(sizeof dnsloop_count_names / sizeof(char *) == sizeof(struct dnsloop_counts) / sizeof(uint64_t) + 1,
               "a name for every counter");
_Static_assert(sizeof(struct sockaddr_in6) == DNSLOOP_NAME_BYTES, "room for any address");
_Static_assert(CMSG_SPACE(sizeof(struct in6_pktinfo)) == DNSLOOP_CONTROL_BYTES, "room for our address");

/* ---- Peers ---- */

/* Whether the socket tells where a datagram was sent to, being bound to all addresses. */
static bool is_wildcard(int fd)
{
    int v4 = 0, v6 = 0;
    socklen_t size = sizeof v4;

    getsockopt(fd, IPPROTO_IP, IP_PKTINFO, &v4, &size);
    size = sizeof v6;
    getsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &v6, &size);
    return v4 || v6;
}

/* Make of where a datagram came to what lets the reply leave from there, since resolvers discard what comes from
 * elsewhere. Routing chooses the way back, which need not be the one that the query came, but for link-local ones. */
static void turn_control(struct cmsghdr *c)
{
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;

        memcpy(&info, CMSG_DATA(c), sizeof info);
        info.ipi_ifindex = 0;
        info.ipi_addr.s_addr = 0;
        memcpy(CMSG_DATA(c), &info, sizeof info);
    }
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;

        memcpy(&info, CMSG_DATA(c), sizeof info);
        if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
            info.ipi6_ifindex = 0;
        memcpy(CMSG_DATA(c), &info, sizeof info);
    }
}

static void note_peer(struct dnsloop_peer *peer, struct msghdr *h)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(h);

    peer->name_size = (uint8_t)h->msg_namelen;
    peer->control_size = (uint8_t)h->msg_controllen;
    if (c)
        turn_control(c);
}

static void address_message(struct msghdr *h, struct dnsloop_peer *peer)
{
    h->msg_name = peer->name;
    h->msg_namelen = peer->name_size;
    h->msg_control = peer->control_size ? peer->control : NULL;
    h->msg_controllen = peer->control_size;
}

/* ---- One query ---- */

static void count_type(struct dnsloop_counts *n, uint16_t qtype)
{
    n->type_a += qtype == DNS_A;
    n->type_aaaa += qtype == DNS_AAAA;
    n->type_txt += qtype == DNS_TXT;
    n->type_any += qtype == DNS_ANY;
    n->type_other += qtype != DNS_A && qtype != DNS_AAAA && qtype != DNS_TXT && qtype != DNS_ANY;
}

static unsigned type_at(uint16_t qtype)
{
    return qtype == DNS_A ? 0 : qtype == DNS_AAAA ? 1 : qtype == DNS_TXT ? 2 : qtype == DNS_ANY ? 3 : 4;
}

static void count_zone(struct dnsloop *l, const struct dns_query *q, unsigned rcode)
{
    if (q->zone)
        l->zone_counts[q->zone - l->view->zones.zones].replies[type_at(q->qtype)][rcode == DNS_NXDOMAIN]++;
}

static void count_told(struct dnsloop_counts *n, const struct dns_told *told)
{
    n->answered += told->has_answer;
    n->nodata += !told->has_answer && !told->is_cut && told->rcode == DNS_NOERROR;
    n->nxdomain += told->rcode == DNS_NXDOMAIN;
    n->refused += told->rcode == DNS_REFUSED;
    n->cut += told->is_cut;
}

unsigned dnsloop_addr(const struct dnsloop_peer *peer, uint8_t addr[16])
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (peer->name_size == sizeof v4) {
        memcpy(&v4, peer->name, sizeof v4);
        memcpy(addr, &v4.sin_addr, 4);
        return 4;
    }
    if (peer->name_size != sizeof v6)
        return 0;
    memcpy(&v6, peer->name, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) { /* a socket for both families */
        memcpy(addr, v6.sin6_addr.s6_addr + 12, 4);
        return 4;
    }
    memcpy(addr, &v6.sin6_addr, 16);
    return 16;
}

/* The size of what is sent of a reply: all, its question with TC, or 0. */
static size_t limited(struct dnsloop *l, struct item *i, size_t size, unsigned rcode)
{
    uint8_t addr[16];
    unsigned addrlen = dnsloop_addr(&i->peer, addr);
    bool is_error = rcode != DNS_NOERROR && rcode != DNS_NXDOMAIN;
    enum rrl_verdict verdict = RRL_SEND;

    if (l->settings.rrl && addrlen && !i->is_trusted) {
        uint64_t reply_class = rrl_class(l->settings.rrl, rcode, i->query.qtype, i->query.name,
                                         is_error ? 0 : i->query.name_size);
        verdict = rrl_check(l->settings.rrl, addr, addrlen, reply_class, l->now_ns);
    }
    if (l->settings.talkers && addrlen && (verdict != RRL_SEND || l->counts.queries % SAMPLE == i->at % SAMPLE))
        talkers_note(l->settings.talkers, addr, addrlen, verdict == RRL_SEND ? SAMPLE : 1, verdict != RRL_SEND);
    l->counts.limited += verdict == RRL_DROP;
    l->counts.slipped += verdict == RRL_SLIP;
    if (verdict == RRL_SLIP)
        return i->kind == DNS_QUERY ? dns_cut(&i->query, i->reply) : size;
    return verdict == RRL_DROP ? 0 : size;
}

static void add_reply(struct dnsloop *l, struct item *i, size_t size)
{
    unsigned n = l->n_outgoing;

    if (!size)
        return;
    l->n_outgoing++;
    l->parts_out[n] = (struct iovec){.iov_base = i->reply, .iov_len = size};
    address_message(&l->outgoing[n].msg_hdr, &i->peer);
}

static void ask(struct dnsloop *l, struct item *i)
{
    uint64_t in = atomic_load_explicit(&l->asks_in, memory_order_relaxed);

    if (in - atomic_load_explicit(&l->asks_out, memory_order_acquire) == l->settings.asks) {
        l->counts.asks_shed++;
        add_reply(l, i, dns_bare(i->data, DNS_SERVFAIL, i->reply));
        return;
    }
    struct dnsloop_ask *a = &l->asks[in % l->settings.asks];
    a->peer = i->peer;
    a->size = (uint16_t)i->size;
    memcpy(a->query, i->data, i->size);
    atomic_store_explicit(&l->asks_in, in + 1, memory_order_release);
    l->counts.asked++;
}

/* Judge the cookie that came and make the one that goes: Cookies of cookies.py. */
static void judge_cookie(struct dnsloop *l, struct item *i)
{
    struct dns_query *q = &i->query;
    const uint8_t *server = q->cookie + DNSCOOKIE_CLIENT_BYTES;
    size_t size = q->cookie_size - DNSCOOKIE_CLIENT_BYTES;
    enum dnscookie_state state = DNSCOOKIE_BAD;
    uint8_t addr[16];
    unsigned addrlen = dnsloop_addr(&i->peer, addr);

    if (!addrlen || !l->n_secrets)
        return;
    if (size)
        state = dnscookie_check(l->secrets[0], l->n_secrets, q->cookie, server, size, addr, addrlen, l->now_s);
    i->is_trusted = state != DNSCOOKIE_BAD;
    q->cookies_size = DNSCOOKIE_CLIENT_BYTES + DNSCOOKIE_SERVER_BYTES;
    memcpy(q->cookies, q->cookie, DNSCOOKIE_CLIENT_BYTES);
    if (state == DNSCOOKIE_GOOD)
        memcpy(q->cookies + DNSCOOKIE_CLIENT_BYTES, server, DNSCOOKIE_SERVER_BYTES);
    else
        dnscookie_make(l->secrets[0], q->cookie, addr, addrlen, l->now_s, q->cookies + DNSCOOKIE_CLIENT_BYTES);
}

static void answer(struct dnsloop *l, struct item *i, uint32_t serial)
{
    struct dns_told told;

    i->is_trusted = false;
    if (i->kind == DNS_QUERY && i->query.cookie_size)
        judge_cookie(l, i);
    size_t size = i->kind == DNS_QUERY ? dns_reply(&i->query, serial, l->settings.limit_bytes, i->reply, &told) : 0;

    if (size) {
        count_type(&l->counts, i->query.qtype);
        count_told(&l->counts, &told);
        count_zone(l, &i->query, told.rcode);
        add_reply(l, i, limited(l, i, size, told.rcode));
    } else if (i->kind == DNS_SILENCE) {
        l->counts.silent++;
    } else if (i->kind == DNS_BROKEN) {
        l->counts.formerr++;
        add_reply(l, i, limited(l, i, dns_bare(i->data, DNS_FORMERR, i->reply), DNS_FORMERR));
    } else {
        ask(l, i);
    }
}

/* ---- One batch ---- */

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void read_item(struct dnsloop *l, struct item *i, unsigned socket, struct mmsghdr *message)
{
    static const struct dns_zones none;
    bool is_cut = message->msg_hdr.msg_flags & MSG_TRUNC;

    i->size = message->msg_len;
    i->peer.socket = (uint16_t)socket;
    note_peer(&i->peer, &message->msg_hdr);
    i->kind = dns_read(i->data, i->size, l->view ? &l->view->zones : &none, &i->query);
    if (i->kind == DNS_QUERY && !l->view)
        i->kind = DNS_ASK;
    if (is_cut && i->kind != DNS_SILENCE) {
        i->kind = DNS_BROKEN;
        l->counts.oversized++;
    }
}

/* The memory accesses of a whole batch overlap. */
static void prefetch(const struct item *i)
{
    if (i->kind != DNS_QUERY)
        return;
    for (unsigned n = 0; n < i->query.n_readings; n++) {
        const struct dns_prefix *p = &i->query.readings[n];
        if (p->plen == 8 * p->addrlen)
            at_prefetch(shelf_table(i->query.zone->listings.shelf), p->addr, p->addrlen);
    }
}

/* One system call for all, as long as the kernel takes them; what it does not take is lost, as UDP may lose it. */
static void send_all(struct dnsloop *l, int fd)
{
    for (unsigned done = 0; done < l->n_outgoing;) {
        int sent = sendmmsg(fd, l->outgoing + done, l->n_outgoing - done, MSG_DONTWAIT);

        if (sent > 0) {
            done += (unsigned)sent;
            continue;
        }
        struct pollfd room = {.fd = fd, .events = POLLOUT};
        if (errno == EINTR || (errno == EAGAIN && poll(&room, 1, SEND_MS) > 0))
            continue;
        l->counts.unsent++;
        done++;
    }
    l->n_outgoing = 0;
}

static void process_batch(struct dnsloop *l, unsigned socket, unsigned n)
{
    uint64_t asked = l->counts.asked;

    l->counts.batches++;
    l->counts.queries += n;
    if (l->settings.rrl)
        l->now_ns = now_ns();
    l->now_s = (uint32_t)time(NULL);
    pthread_mutex_lock(&l->view_lock);
    const struct dnsview *v = l->view;
    for (unsigned s = 0; v && s < v->n_shelves; s++)
        at_rdlock(shelf_table(v->shelves[s]));
    for (unsigned i = 0; i < n; i++) {
        read_item(l, &l->items[i], socket, &l->incoming[i]);
        prefetch(&l->items[i]);
    }
    uint32_t serial = v ? atomic_load_explicit(&v->serial, memory_order_relaxed) : 0;
    for (unsigned i = 0; i < n; i++)
        answer(l, &l->items[i], serial);
    for (unsigned s = 0; v && s < v->n_shelves; s++)
        at_rdunlock(shelf_table(v->shelves[s]));
    pthread_mutex_unlock(&l->view_lock);
    if (l->counts.asked != asked)
        eventfd_write(l->ask_fd, 1);
    send_all(l, l->endpoints[socket].fd);
}

/* ---- One turn ---- */

/* How many datagrams came; *error is set when the socket is lost. */
static unsigned receive(struct dnsloop *l, const struct endpoint *e, int *error)
{
    for (unsigned i = 0; i < BATCH; i++) {
        struct msghdr *h = &l->incoming[i].msg_hdr;

        h->msg_namelen = DNSLOOP_NAME_BYTES;
        h->msg_controllen = e->is_wildcard ? DNSLOOP_CONTROL_BYTES : 0;
    }
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

    l->counts.turns++;
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

int dnsloop_publish(struct dnsloop *l, const struct dnsview *view, struct dnsloop_zone_counts **before)
{
    struct dnsloop_zone_counts *counts = view ? calloc(view->zones.n + 1, sizeof *counts) : NULL;

    if (view && !counts)
        return -1;
    pthread_mutex_lock(&l->view_lock);
    *before = l->zone_counts;
    l->zone_counts = counts;
    l->view = view;
    pthread_mutex_unlock(&l->view_lock);
    return 0;
}

void dnsloop_set_secrets(struct dnsloop *l, const uint8_t *secrets, size_t n)
{
    pthread_mutex_lock(&l->view_lock);
    l->n_secrets = n < DNSLOOP_SECRETS ? n : DNSLOOP_SECRETS;
    memcpy(l->secrets, secrets, l->n_secrets * DNSCOOKIE_SECRET_BYTES);
    pthread_mutex_unlock(&l->view_lock);
}

void dnsloop_zone_counts(struct dnsloop *l, struct dnsloop_zone_counts *out, size_t n)
{
    pthread_mutex_lock(&l->view_lock);
    if (l->view)
        memcpy(out, l->zone_counts, (n < l->view->zones.n ? n : l->view->zones.n) * sizeof *out);
    pthread_mutex_unlock(&l->view_lock);
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

int dnsloop_send(const struct dnsloop *l, const struct dnsloop_peer *peer, const uint8_t *reply, size_t size)
{
    struct dnsloop_peer to = *peer;
    struct iovec part = {.iov_base = (void *)reply, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (to.socket >= l->settings.n_fds || to.name_size > sizeof to.name || to.control_size > sizeof to.control) {
        errno = EINVAL;
        return -1;
    }
    address_message(&message, &to);
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
        struct item *item = &l->items[i];

        item->at = i;
        item->data = l->buffers + i * in;
        item->reply = l->buffers + BATCH * in + i * out;
        l->parts_in[i] = (struct iovec){.iov_base = item->data, .iov_len = DNSLOOP_QUERY_BYTES};
        l->incoming[i].msg_hdr.msg_iov = &l->parts_in[i];
        l->incoming[i].msg_hdr.msg_iovlen = 1;
        l->incoming[i].msg_hdr.msg_name = item->peer.name;
        l->incoming[i].msg_hdr.msg_control = item->peer.control;
        l->outgoing[i].msg_hdr.msg_iov = &l->parts_out[i];
        l->outgoing[i].msg_hdr.msg_iovlen = 1;
    }
    for (unsigned s = 0; s < l->settings.n_fds; s++) {
        int fd = l->settings.fds[s];

        l->endpoints[s] = (struct endpoint){.fd = fd, .is_wildcard = is_wildcard(fd)};
        l->sources[s] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
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
    free(l->zone_counts);
    free(l->buffers);
    free(l->asks);
    free(l);
}

/* Read while the loop counts: each number is whole (64-bit loads), together they may be a query apart. */
void dnsloop_counts(const struct dnsloop *l, struct dnsloop_counts *out)
{
    const uint64_t *from = (const uint64_t *)&l->counts;
    uint64_t *to = (uint64_t *)out;

    for (size_t i = 0; i < sizeof *out / sizeof *to; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
