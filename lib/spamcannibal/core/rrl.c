/* See rrl.h. */
#include "rrl.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "siphash.h"

enum { WAYS = 4, STRIPES = 64 };
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
    uint64_t set_mask;
    struct bucket (*sets)[WAYS];
    unsigned n_exempt;
    struct net exempt[RRL_EXEMPT_MAX];
    pthread_mutex_t locks[STRIPES];
};

struct rrl *rrl_new(const struct rrl_settings *settings)
{
    struct rrl *r = calloc(1, sizeof *r);
    uint64_t n_sets = 1;

    if (!r)
        return NULL;
    while (n_sets * WAYS < settings->buckets)
        n_sets *= 2;
    r->settings = *settings;
    r->set_mask = n_sets - 1;
    r->sets = calloc(n_sets, sizeof *r->sets); /* touched when used */
    if (!r->sets || getrandom(r->secret, sizeof r->secret, 0) != sizeof r->secret) {
        int error = errno;
        free(r->sets);
        free(r);
        errno = error;
        return NULL;
    }
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&r->locks[i], NULL);
    return r;
}

void rrl_free(struct rrl *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&r->locks[i]);
    free(r->sets);
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

uint64_t rrl_class(const struct rrl *r, unsigned rcode, unsigned qtype, const uint8_t *name, size_t name_size)
{
    uint8_t text[4 + 255] = {(uint8_t)rcode, (uint8_t)(qtype >> 8), (uint8_t)qtype, name_size > 0};
    size_t size = name_size < 255 ? name_size : 255;

    if (!size)
        text[1] = text[2] = 0;
    memcpy(text + 4, name, size);
    return siphash24(r->secret, text, 4 + size);
}

/* The bucket of a key, a free one or the one with the least debt; its set is locked. */
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

static enum rrl_verdict take(struct rrl *r, const uint8_t *key, size_t size, uint32_t per_s, uint64_t now_ns)
{
    uint64_t hash = siphash24(r->secret, key, size), set = hash & r->set_mask;
    pthread_mutex_t *lock = &r->locks[set % STRIPES];
    enum rrl_verdict verdict = RRL_SEND;

    pthread_mutex_lock(lock);
    struct bucket *b = find(r->sets[set], (uint32_t)(hash >> 32), now_ns);
    uint64_t due_ns = b->due_ns + SECOND_NS / per_s;
    if (due_ns <= now_ns + SECOND_NS)
        b->due_ns = due_ns;
    else
        verdict = r->settings.slip && ++b->limited % r->settings.slip == 0 ? RRL_SLIP : RRL_DROP;
    pthread_mutex_unlock(lock);
    return verdict;
}

enum rrl_verdict rrl_check(struct rrl *r, const uint8_t *addr, unsigned addrlen, uint64_t reply_class, uint64_t now_ns)
{
    uint8_t key[17] = {(uint8_t)addrlen};
    unsigned bytes = addrlen == 4 ? RRL_V4_BITS / 8 : RRL_V6_BITS / 8;

    if (!r->settings.per_s && !r->settings.all_per_s)
        return RRL_SEND;
    for (unsigned i = 0; i < r->n_exempt; i++)
        if (covers(&r->exempt[i], addr, addrlen))
            return RRL_SEND;
    memcpy(key + 1, addr, bytes);
    if (r->settings.all_per_s) {
        enum rrl_verdict verdict = take(r, key, 9, r->settings.all_per_s, now_ns);
        if (verdict != RRL_SEND)
            return verdict;
    }
    if (!r->settings.per_s)
        return RRL_SEND;
    memcpy(key + 9, &reply_class, sizeof reply_class);
    return take(r, key, sizeof key, r->settings.per_s, now_ns);
}
