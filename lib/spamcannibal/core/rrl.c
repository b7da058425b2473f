/* See rrl.h. */
#include "rrl.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "siphash.h"

enum { WAYS = 4, LINE = 64, ALL = 0, CLASS = 1 };
#define SECOND_NS UINT64_C(1000000000)

struct bucket {
    uint64_t due_ns; /* when what was sent is paid for */
    uint32_t tag;
    uint32_t limited; /* replies past the limit, for the slip */
};

struct net {
    uint8_t addr[16];
    uint8_t addrlen, plen;
};

struct rrl {
    struct rrl_settings settings;
    uint64_t secret[2];
    uint64_t step_ns[2]; /* what a reply costs of the limits ALL and CLASS, 0: no limit */
    uint64_t set_mask;
    struct bucket (*sets)[WAYS]; /* a line of the cache each */
    void *memory;
    unsigned n_exempt;
    struct net exempt[RRL_EXEMPT_MAX];
    pthread_mutex_t lock;
};

_Static_assert(sizeof(struct bucket[WAYS]) == LINE, "a set is a line");

struct rrl *rrl_new(const struct rrl_settings *settings)
{
    struct rrl *r = calloc(1, sizeof *r);
    uint64_t n_sets = 1;

    if (!r)
        return NULL;
    while (n_sets * WAYS < settings->buckets)
        n_sets *= 2;
    r->settings = *settings;
    r->step_ns[ALL] = settings->all_per_s ? SECOND_NS / settings->all_per_s : 0;
    r->step_ns[CLASS] = settings->per_s ? SECOND_NS / settings->per_s : 0;
    r->set_mask = n_sets - 1;
    r->memory = calloc(n_sets + 1, LINE); /* touched when used */
    if (!r->memory || getrandom(r->secret, sizeof r->secret, 0) != sizeof r->secret) {
        int error = errno;
        free(r->memory);
        free(r);
        errno = error;
        return NULL;
    }
    r->sets = (void *)(((uintptr_t)r->memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void rrl_free(struct rrl *r)
{
    if (!r)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r->memory);
    free(r);
}

static bool covers(const struct net *n, const uint8_t *addr, unsigned addrlen)
{
    unsigned whole = n->plen / 8, rest = n->plen % 8;

    if (n->addrlen != addrlen || memcmp(n->addr, addr, whole) != 0)
        return false;
    return !rest || ((n->addr[whole] ^ addr[whole]) >> (8 - rest)) == 0;
}

int rrl_exempt(struct rrl *r, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    if (r->n_exempt == RRL_EXEMPT_MAX || (addrlen != 4 && addrlen != 16) || plen > 8 * addrlen)
        return -1;
    struct net *n = &r->exempt[r->n_exempt++];
    memcpy(n->addr, addr, addrlen);
    n->addrlen = (uint8_t)addrlen;
    n->plen = (uint8_t)plen;
    return 0;
}

static bool is_exempt(const struct rrl *r, const uint8_t *addr, unsigned addrlen)
{
    for (unsigned i = 0; i < r->n_exempt; i++)
        if (covers(&r->exempt[i], addr, addrlen))
            return true;
    return false;
}

/* ---- keys ---- */

/* A network with the size of its addresses as a word. */
static uint64_t net_word(const struct rrl_reply *reply)
{
    unsigned bytes = reply->addrlen == 4 ? RRL_V4_BITS / 8 : RRL_V6_BITS / 8;

    return (uint64_t)reply->addrlen << 56 | sip_word(reply->addr, bytes);
}

static uint64_t hash_all(const struct rrl *r, uint64_t net)
{
    uint64_t v[4];

    sip_start(v, r->secret);
    sip_add(v, net, 1);
    return sip_end(v, 3);
}

static uint64_t hash_class(const struct rrl *r, uint64_t net, const struct rrl_reply *reply)
{
    uint64_t kind = (uint64_t)reply->name_size << 32 | reply->rcode, v[4];
    unsigned whole = reply->name_size & ~7u;

    if (reply->name_size)
        kind |= (uint64_t)reply->qtype << 8;
    sip_start(v, r->secret);
    sip_add(v, net, 1);
    sip_add(v, kind, 1);
    for (unsigned i = 0; i < whole; i += 8)
        sip_add(v, sip_word(reply->name + i, 8), 1);
    sip_add(v, sip_word(reply->name + whole, reply->name_size - whole), 1);
    return sip_end(v, 3);
}

static void prepare(const struct rrl *r, struct rrl_reply *reply)
{
    uint64_t net = net_word(reply);

    reply->is_free |= is_exempt(r, reply->addr, reply->addrlen);
    reply->buckets[ALL] = r->step_ns[ALL] ? hash_all(r, net) : 0;
    reply->buckets[CLASS] = r->step_ns[CLASS] ? hash_class(r, net, reply) : 0;
    for (unsigned i = 0; i < 2; i++)
        __builtin_prefetch(r->sets[reply->buckets[i] & r->set_mask], 1);
}

/* ---- buckets ---- */

/* The bucket of a key, a free one or the one with the least debt. */
static struct bucket *find(struct bucket *set, uint32_t tag, uint64_t now_ns)
{
    struct bucket *least = set;

    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].tag == tag && set[i].due_ns > now_ns)
            return &set[i];
        if (set[i].due_ns < least->due_ns)
            least = &set[i];
    }
    *least = (struct bucket){.due_ns = now_ns, .tag = tag};
    return least;
}

static enum rrl_verdict take(const struct rrl *r, uint64_t hash, uint64_t step_ns, uint64_t now_ns)
{
    struct bucket *b = find(r->sets[hash & r->set_mask], (uint32_t)(hash >> 32), now_ns);

    if (b->due_ns + step_ns <= now_ns + SECOND_NS) {
        b->due_ns += step_ns;
        return RRL_SEND;
    }
    return r->settings.slip && ++b->limited % r->settings.slip == 0 ? RRL_SLIP : RRL_DROP;
}

void rrl_judge(struct rrl *r, struct rrl_reply *replies, size_t n, uint64_t now_ns)
{
    for (size_t i = 0; i < n; i++)
        prepare(r, &replies[i]);
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++) {
        struct rrl_reply *reply = &replies[i];

        reply->verdict = RRL_SEND;
        for (unsigned k = ALL; k <= CLASS && !reply->is_free && reply->verdict == RRL_SEND; k++)
            if (r->step_ns[k])
                reply->verdict = take(r, reply->buckets[k], r->step_ns[k], now_ns);
    }
    pthread_mutex_unlock(&r->lock);
}
