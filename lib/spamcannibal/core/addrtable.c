/* Address table; addrtable.h has the interface.
 *
 * Each prefix length in use is a level: one extendible hash, keyed by only the words that the length needs, so an
 * IPv4 prefix takes 8 bytes a slot, an IPv6 /64 12 and an IPv6 host 20.
 */
#include "addrtable.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "exthash.h"

enum { V4_LEVELS = 33, V6_LEVELS = 129 };

_Static_assert((int)AT_PAGE == (int)XH_SLOTS, "a page is one segment of a level");

struct family {
    unsigned bits;
    unsigned n_used;
    uint8_t used[V6_LEVELS];    /* prefix lengths in use, longest first */
    struct exthash levels[V6_LEVELS];
};

struct addrtable {
    pthread_rwlock_t lock;
    uint64_t seed[2];
    struct family v4, v6;
};

struct key {
    uint32_t words[XH_WORDS];
};

/* ---- keys and levels ---- */

static struct key key_load(const uint8_t *addr, unsigned addrlen)
{
    struct key k = {{0}};

    for (unsigned i = 0; i < addrlen / 4; i++, addr += 4)
        k.words[i] = (uint32_t)addr[0] << 24 | (uint32_t)addr[1] << 16 | (uint32_t)addr[2] << 8 | addr[3];
    return k;
}

static inline unsigned words_of(unsigned plen)
{
    return plen <= 32 ? 1 : (plen + 31) / 32;
}

/* Only the words that this length needs are right afterwards. */
static inline struct key key_mask(struct key k, unsigned plen)
{
    unsigned last = words_of(plen) - 1, bits = plen - 32 * last;

    k.words[last] &= bits ? UINT32_MAX << (32 - bits) : 0;
    return k;
}

static const struct family *family_of(const struct addrtable *t, unsigned addrlen)
{
    return addrlen == 4 ? &t->v4 : addrlen == 16 ? &t->v6 : NULL;
}

/* The level of this prefix length if it is in use. */
static const struct exthash *level_of(const struct addrtable *t, unsigned addrlen, unsigned plen)
{
    const struct family *f = family_of(t, addrlen);

    return f && plen <= f->bits && f->levels[plen].dir ? &f->levels[plen] : NULL;
}

static int level_open(struct family *f, unsigned plen, const uint64_t seed[2])
{
    unsigned i = f->n_used;

    if (xh_open(&f->levels[plen], words_of(plen), seed) < 0)
        return -1;
    for (; i > 0 && f->used[i - 1] < plen; i--)
        f->used[i] = f->used[i - 1];
    f->used[i] = (uint8_t)plen;
    f->n_used++;
    return 0;
}

static void level_close(struct family *f, unsigned plen)
{
    unsigned i = 0;

    xh_close(&f->levels[plen]);
    while (f->used[i] != plen)
        i++;
    for (f->n_used--; i < f->n_used; i++)
        f->used[i] = f->used[i + 1];
}

/* ---- the table ---- */

struct addrtable *at_new_seeded(const uint64_t seed[2])
{
    struct addrtable *t = calloc(1, sizeof *t);
    pthread_rwlockattr_t attr;

    if (!t)
        return NULL;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&t->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    memcpy(t->seed, seed, sizeof t->seed);
    t->v4.bits = V4_LEVELS - 1;
    t->v6.bits = V6_LEVELS - 1;
    return t;
}

struct addrtable *at_new(void)
{
    uint64_t seed[2];

    if (getrandom(seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        return NULL;
    return at_new_seeded(seed);
}

void at_free(struct addrtable *t)
{
    if (!t)
        return;
    while (t->v4.n_used)
        level_close(&t->v4, t->v4.used[t->v4.n_used - 1]);
    while (t->v6.n_used)
        level_close(&t->v6, t->v6.used[t->v6.n_used - 1]);
    pthread_rwlock_destroy(&t->lock);
    free(t);
}

int at_set(struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen, uint32_t value)
{
    struct family *f = (struct family *)family_of(t, addrlen);

    if (!f || plen > f->bits || !value) {
        errno = EINVAL;
        return -1;
    }
    struct key k = key_mask(key_load(addr, addrlen), plen);
    if ((!f->levels[plen].dir && level_open(f, plen, t->seed) < 0) || xh_set(&f->levels[plen], k.words, value) < 0) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

int at_del(struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    struct exthash *level = (struct exthash *)level_of(t, addrlen, plen);
    struct key k = level ? key_mask(key_load(addr, addrlen), plen) : (struct key){{0}};

    if (!level || !xh_del(level, k.words))
        return 0;
    if (!level->count)
        level_close((struct family *)family_of(t, addrlen), plen);
    return 1;
}

uint32_t at_get(const struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    const struct exthash *level = level_of(t, addrlen, plen);

    return level ? xh_get(level, key_mask(key_load(addr, addrlen), plen).words) : 0;
}

uint32_t at_lookup(const struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned *plen_out)
{
    const struct family *f = family_of(t, addrlen);
    struct key k = key_load(addr, f ? addrlen : 0);

    for (unsigned i = 0; f && i < f->n_used; i++) {
        unsigned plen = f->used[i];
        uint32_t value = xh_get(&f->levels[plen], key_mask(k, plen).words);

        if (value) {
            if (plen_out)
                *plen_out = plen;
            return value;
        }
    }
    return 0;
}

void at_prefetch(const struct addrtable *t, const uint8_t *addr, unsigned addrlen)
{
    const struct family *f = family_of(t, addrlen);
    struct key k = key_load(addr, f ? addrlen : 0);

    for (unsigned i = 0; f && i < f->n_used; i++)
        xh_prefetch(&f->levels[f->used[i]], key_mask(k, f->used[i]).words);
}

uint64_t at_count(const struct addrtable *t)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < t->v4.n_used; i++)
        n += t->v4.levels[t->v4.used[i]].count;
    for (unsigned i = 0; i < t->v6.n_used; i++)
        n += t->v6.levels[t->v6.used[i]].count;
    return n;
}

uint64_t at_bytes(const struct addrtable *t)
{
    uint64_t n = sizeof *t;

    for (unsigned i = 0; i < t->v4.n_used; i++)
        n += xh_bytes(&t->v4.levels[t->v4.used[i]]);
    for (unsigned i = 0; i < t->v6.n_used; i++)
        n += xh_bytes(&t->v6.levels[t->v6.used[i]]);
    return n;
}

/* ---- walking ---- */

static void entry_fill(struct at_entry *e, unsigned addrlen, unsigned plen, const uint32_t *slot)
{
    unsigned bytes = 4 * words_of(plen);

    *e = (struct at_entry){.addrlen = (uint8_t)addrlen, .plen = (uint8_t)plen, .value = slot[0]};
    for (unsigned i = 0; i < bytes; i++)
        e->addr[i] = (uint8_t)(slot[1 + i / 4] >> (24 - 8 * (i % 4)));
}

size_t at_page(const struct addrtable *t, struct at_cursor *c, struct at_entry out[AT_PAGE])
{
    uint32_t slots[XH_SLOTS * (1 + XH_WORDS)];
    size_t n = 0;

    while (!n && c->level < V4_LEVELS + V6_LEVELS) {
        unsigned addrlen = c->level < V4_LEVELS ? 4 : 16;
        unsigned plen = addrlen == 4 ? c->level : c->level - V4_LEVELS;
        const struct exthash *level = level_of(t, addrlen, plen);

        if (level)
            n = xh_page(level, &c->hash, slots);
        else
            c->hash = 0;
        for (size_t i = 0; i < n; i++)
            entry_fill(&out[i], addrlen, plen, slots + i * (1 + level->words));
        c->level += !c->hash;
    }
    return n;
}

/* ---- lock ---- */

void at_rdlock(struct addrtable *t) { pthread_rwlock_rdlock(&t->lock); }
bool at_tryrdlock(struct addrtable *t) { return pthread_rwlock_tryrdlock(&t->lock) == 0; }
void at_rdunlock(struct addrtable *t) { pthread_rwlock_unlock(&t->lock); }
void at_wrlock(struct addrtable *t) { pthread_rwlock_wrlock(&t->lock); }
bool at_trywrlock(struct addrtable *t) { return pthread_rwlock_trywrlock(&t->lock) == 0; }
void at_wrunlock(struct addrtable *t) { pthread_rwlock_unlock(&t->lock); }
