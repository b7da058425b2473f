/* Address table; addrtable.h has the interface.
 *
 * Each prefix length in use is a level: extendible hashing (Fagin et al., ACM TODS 4(3), 1979). A directory of
 * 2^depth pointers, indexed by the top bits of a key's hash, leads to segments of 512 slots that are probed
 * linearly from the low bits of the same hash:
 *
 *   dir[hash >> (64 - dir depth)] -> segment {used, depth, slots[512]}, several entries may share one segment
 *   slot = value u32 | key words u32 x ceil(plen / 32)                   value 0: free
 *
 * A segment at three quarters is split by the next bit of its keys' hashes; two sparse neighbours are joined
 * again after deletes. So an update touches at most a few KB, and there is no old copy beside a new one: 8 bytes
 * a slot for IPv4 and at most 22 an entry. The directory doubles by a plain copy, 256 KB at 10 M entries. A key
 * has only the words that its prefix length needs: an IPv6 /64 takes 12 bytes a slot, a host 20.
 */
#include "addrtable.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    SLOTS = AT_PAGE,
    FULL = SLOTS * 3 / 4,
    SPARSE = SLOTS / 4,     /* far enough below FULL that alternating set and delete do not split and join */
    MAX_DEPTH = 24,         /* 6 G entries; only a broken hash gets there sooner */
    PREFETCH_DEPTH = 5,     /* smaller levels stay in the cache by themselves */
    MAX_WORDS = 4,
    V4_LEVELS = 33,
    V6_LEVELS = 129,
};

struct segment {
    uint32_t used, depth;
    uint32_t slots[];
};

struct level {
    struct segment **dir;
    unsigned depth, words;
};

struct family {
    unsigned bits;
    unsigned n_used;
    uint8_t used[V6_LEVELS];    /* prefix lengths in use, longest first */
    struct level levels[V6_LEVELS];
};

struct addrtable {
    pthread_rwlock_t lock;
    uint64_t seed[2], count, bytes;
    struct family v4, v6;
};

struct key {
    uint32_t words[MAX_WORDS];
};

/* ---- keys and hashes ---- */

static const struct family *family_of(const struct addrtable *t, unsigned addrlen)
{
    return addrlen == 4 ? &t->v4 : addrlen == 16 ? &t->v6 : NULL;
}

static struct key key_load(const uint8_t *addr, unsigned addrlen)
{
    struct key k = {{0}};

    for (unsigned i = 0; i < addrlen / 4; i++, addr += 4)
        k.words[i] = (uint32_t)addr[0] << 24 | (uint32_t)addr[1] << 16 | (uint32_t)addr[2] << 8 | addr[3];
    return k;
}

static unsigned words_of(unsigned plen)
{
    return plen <= 32 ? 1 : (plen + 31) / 32;
}

/* Only the words that a level of this length compares are valid afterwards. */
static struct key key_mask(struct key k, unsigned plen)
{
    unsigned last = words_of(plen) - 1, bits = plen - 32 * last;

    k.words[last] &= bits ? UINT32_MAX << (32 - bits) : 0;
    return k;
}

static inline uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = rotl(v[1], 13); v[1] ^= v[0]; v[0] = rotl(v[0], 32);
    v[2] += v[3]; v[3] = rotl(v[3], 16); v[3] ^= v[2];
    v[0] += v[3]; v[3] = rotl(v[3], 21); v[3] ^= v[0];
    v[2] += v[1]; v[1] = rotl(v[1], 17); v[1] ^= v[2]; v[2] = rotl(v[2], 32);
}

/* SipHash-1-3, the usual choice for hash tables; without the length block, as keys of a level are all equally long. */
static uint64_t hash(const uint64_t seed[2], const uint32_t *words, unsigned n)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
                     seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573};

    for (unsigned i = 0; i < n; i += 2) {
        uint64_t block = words[i] | (i + 1 < n ? (uint64_t)words[i + 1] << 32 : 0);
        v[3] ^= block;
        sip_round(v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- one segment ---- */

static size_t segment_size(const struct level *l)
{
    return sizeof(struct segment) + sizeof(uint32_t) * SLOTS * (l->words + 1);
}

static inline uint32_t *slot_at(const struct level *l, struct segment *s, unsigned i)
{
    return s->slots + (size_t)i * (l->words + 1);
}

static inline bool same_key(const uint32_t *a, const uint32_t *b, unsigned n)
{
    uint32_t diff = 0;

    for (unsigned i = 0; i < n; i++)
        diff |= a[i] ^ b[i];
    return !diff;
}

/* The key's slot, or the free one where it belongs. Ends because a segment is never completely full. */
static inline uint32_t *slot_find(const struct level *l, struct segment *s, const uint32_t *words, uint64_t h)
{
    for (unsigned i = h % SLOTS;; i = (i + 1) % SLOTS) {
        uint32_t *slot = slot_at(l, s, i);

        if (!slot[0] || same_key(slot + 1, words, l->words))
            return slot;
    }
}

static void slot_put(const struct level *l, struct segment *s, const uint32_t *slot, uint64_t h)
{
    memcpy(slot_find(l, s, slot + 1, h), slot, sizeof *slot * (l->words + 1));
    s->used++;
}

/* Free a slot and move back those after it that would no longer be found: no tombstones. */
static void slot_erase(const uint64_t seed[2], const struct level *l, struct segment *s, uint32_t *slot)
{
    unsigned hole = (unsigned)((size_t)(slot - s->slots) / (l->words + 1));

    for (unsigned i = (hole + 1) % SLOTS;; i = (i + 1) % SLOTS) {
        const uint32_t *next = slot_at(l, s, i);

        if (!next[0])
            break;
        if ((i - hash(seed, next + 1, l->words)) % SLOTS >= (i - hole) % SLOTS) {
            memcpy(slot_at(l, s, hole), next, sizeof *next * (l->words + 1));
            hole = i;
        }
    }
    slot_at(l, s, hole)[0] = 0;
    s->used--;
}

/* ---- one level: directory and segments ---- */

static inline size_t dir_index(const struct level *l, uint64_t h)
{
    return l->depth ? (size_t)(h >> (64 - l->depth)) : 0;
}

/* Point the directory entries of the segment of this depth that holds hash h at s. */
static void dir_point(struct level *l, uint64_t h, unsigned depth, struct segment *s)
{
    size_t n = (size_t)1 << (l->depth - depth), first = dir_index(l, h) & ~(n - 1);

    for (size_t i = 0; i < n; i++)
        l->dir[first + i] = s;
}

static struct segment *segment_new(struct addrtable *t, const struct level *l, unsigned depth)
{
    struct segment *s = calloc(1, segment_size(l));

    if (s) {
        s->depth = depth;
        t->bytes += segment_size(l);
    }
    return s;
}

static void segment_free(struct addrtable *t, const struct level *l, struct segment *s)
{
    t->bytes -= segment_size(l);
    free(s);
}

static int dir_double(struct addrtable *t, struct level *l)
{
    size_t n = (size_t)1 << l->depth;
    struct segment **wide = l->depth < MAX_DEPTH ? malloc(2 * n * sizeof(struct segment *)) : NULL;

    if (!wide)
        return -1;
    for (size_t i = 0; i < 2 * n; i++)
        wide[i] = l->dir[i / 2];
    free(l->dir);
    l->dir = wide;
    l->depth++;
    t->bytes += n * sizeof(struct segment *);
    return 0;
}

/* Give half of the segment that holds hash h to a new one. */
static int level_split(struct addrtable *t, struct level *l, uint64_t h)
{
    struct segment *s = l->dir[dir_index(l, h)], *upper;
    uint32_t old[SLOTS * (MAX_WORDS + 1)];
    unsigned shift = 63 - s->depth;

    if (s->depth == l->depth && dir_double(t, l) < 0)
        return -1;
    if (!(upper = segment_new(t, l, s->depth + 1)))
        return -1;
    memcpy(old, s->slots, sizeof *old * SLOTS * (l->words + 1));
    memset(s->slots, 0, sizeof *old * SLOTS * (l->words + 1));
    s->used = 0;
    s->depth++;
    dir_point(l, h | (uint64_t)1 << shift, s->depth, upper);
    for (unsigned i = 0; i < SLOTS; i++) {
        const uint32_t *slot = old + (size_t)i * (l->words + 1);

        if (slot[0]) {
            uint64_t its = hash(t->seed, slot + 1, l->words);
            slot_put(l, its >> shift & 1 ? upper : s, slot, its);
        }
    }
    return 0;
}

/* Join the segment that holds hash h with its neighbour as long as both together are sparse. */
static void level_join(struct addrtable *t, struct level *l, uint64_t h)
{
    for (;;) {
        struct segment *s = l->dir[dir_index(l, h)], *other;

        if (!s->depth)
            return;
        other = l->dir[dir_index(l, h ^ (uint64_t)1 << (64 - s->depth))];
        if (other->depth != s->depth || s->used + other->used > SPARSE)
            return;
        for (unsigned i = 0; i < SLOTS; i++) {
            const uint32_t *slot = slot_at(l, other, i);

            if (slot[0])
                slot_put(l, s, slot, hash(t->seed, slot + 1, l->words));
        }
        s->depth--;
        dir_point(l, h, s->depth, s);
        segment_free(t, l, other);
    }
}

/* ---- the prefix lengths in use ---- */

static int level_open(struct addrtable *t, struct family *f, unsigned plen)
{
    struct level *l = &f->levels[plen];
    unsigned i = f->n_used;

    l->words = words_of(plen);
    l->depth = 0;
    if (!(l->dir = malloc(sizeof(struct segment *))))
        return -1;
    if (!(l->dir[0] = segment_new(t, l, 0))) {
        free(l->dir);
        l->dir = NULL;
        return -1;
    }
    t->bytes += sizeof(struct segment *);
    for (; i > 0 && f->used[i - 1] < plen; i--)
        f->used[i] = f->used[i - 1];
    f->used[i] = (uint8_t)plen;
    f->n_used++;
    return 0;
}

/* Of an empty level: joining has left a single segment. */
static void level_close(struct addrtable *t, struct family *f, unsigned plen)
{
    struct level *l = &f->levels[plen];
    unsigned i = 0;

    segment_free(t, l, l->dir[0]);
    t->bytes -= sizeof(struct segment *) << l->depth;
    free(l->dir);
    l->dir = NULL;
    while (f->used[i] != plen)
        i++;
    for (f->n_used--; i < f->n_used; i++)
        f->used[i] = f->used[i + 1];
}

static void family_free(struct family *f)
{
    for (unsigned i = 0; i < f->n_used; i++) {
        struct level *l = &f->levels[f->used[i]];
        size_t n = (size_t)1 << l->depth, span;

        for (size_t at = 0; at < n; at += span) {
            span = n >> l->dir[at]->depth;
            free(l->dir[at]);
        }
        free(l->dir);
    }
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
    t->bytes = sizeof *t;
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
    family_free(&t->v4);
    family_free(&t->v6);
    pthread_rwlock_destroy(&t->lock);
    free(t);
}

int at_set(struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen, uint32_t value)
{
    struct family *f = (struct family *)family_of(t, addrlen);
    struct segment *s;
    uint32_t *slot;

    if (!f || plen > f->bits) {
        errno = EINVAL;
        return -1;
    }
    if (!value) {
        at_del(t, addr, addrlen, plen);
        return 0;
    }
    struct level *l = &f->levels[plen];
    if (!l->dir && level_open(t, f, plen) < 0)
        return -1;
    struct key k = key_mask(key_load(addr, addrlen), plen);
    uint64_t h = hash(t->seed, k.words, l->words);
    s = l->dir[dir_index(l, h)];
    slot = slot_find(l, s, k.words, h);
    if (slot[0]) {
        slot[0] = value;
        return 0;
    }
    while (s->used >= FULL && level_split(t, l, h) == 0)
        s = l->dir[dir_index(l, h)];
    if (s->used == SLOTS - 1) {     /* no memory to split it, and one slot has to stay free */
        errno = ENOMEM;
        return -1;
    }
    slot = slot_find(l, s, k.words, h);
    slot[0] = value;
    memcpy(slot + 1, k.words, sizeof *slot * l->words);
    s->used++;
    t->count++;
    return 0;
}

int at_del(struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    struct family *f = (struct family *)family_of(t, addrlen);

    if (!f || plen > f->bits || !f->levels[plen].dir)
        return 0;
    struct level *l = &f->levels[plen];
    struct key k = key_mask(key_load(addr, addrlen), plen);
    uint64_t h = hash(t->seed, k.words, l->words);
    struct segment *s = l->dir[dir_index(l, h)];
    uint32_t *slot = slot_find(l, s, k.words, h);
    if (!slot[0])
        return 0;
    slot_erase(t->seed, l, s, slot);
    t->count--;
    level_join(t, l, h);
    if (!l->dir[0]->depth && !l->dir[0]->used)
        level_close(t, f, plen);
    return 1;
}

static inline uint32_t level_get(const struct addrtable *t, const struct level *l, struct key k, unsigned plen)
{
    k = key_mask(k, plen);
    uint64_t h = hash(t->seed, k.words, l->words);
    return slot_find(l, l->dir[dir_index(l, h)], k.words, h)[0];
}

uint32_t at_get(const struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    const struct family *f = family_of(t, addrlen);

    if (!f || plen > f->bits || !f->levels[plen].dir)
        return 0;
    return level_get(t, &f->levels[plen], key_load(addr, addrlen), plen);
}

uint32_t at_lookup(const struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned *plen_out)
{
    const struct family *f = family_of(t, addrlen);

    if (!f)
        return 0;
    struct key k = key_load(addr, addrlen);
    for (unsigned i = 0; i < f->n_used; i++) {
        unsigned plen = f->used[i];
        uint32_t value = level_get(t, &f->levels[plen], k, plen);

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

    if (!f)
        return;
    struct key k = key_load(addr, addrlen);
    for (unsigned i = 0; i < f->n_used; i++) {
        const struct level *l = &f->levels[f->used[i]];

        if (l->depth < PREFETCH_DEPTH)
            continue;
        struct key masked = key_mask(k, f->used[i]);
        uint64_t h = hash(t->seed, masked.words, l->words);
        __builtin_prefetch(slot_at(l, l->dir[dir_index(l, h)], h % SLOTS));
    }
}

uint64_t at_count(const struct addrtable *t)
{
    return t->count;
}

uint64_t at_bytes(const struct addrtable *t)
{
    return t->bytes;
}

/* ---- walking ---- */

static void entry_fill(struct at_entry *e, unsigned addrlen, unsigned plen, const uint32_t *slot)
{
    unsigned words = words_of(plen);

    *e = (struct at_entry){.addrlen = (uint8_t)addrlen, .plen = (uint8_t)plen, .value = slot[0]};
    for (unsigned i = 0; i < 4 * words; i++)
        e->addr[i] = (uint8_t)(slot[1 + i / 4] >> (24 - 8 * (i % 4)));
}

/* A page is one segment. The cursor keeps a hash, not an index, and what lies below it is skipped: splits and
 * joins between two pages change neither. */
size_t at_page(const struct addrtable *t, struct at_cursor *c, struct at_entry out[AT_PAGE])
{
    size_t n = 0;

    while (!n && c->level < V4_LEVELS + V6_LEVELS) {
        bool is_v4 = c->level < V4_LEVELS;
        unsigned plen = is_v4 ? c->level : c->level - V4_LEVELS;
        const struct level *l = is_v4 ? &t->v4.levels[plen] : &t->v6.levels[plen];
        uint64_t end = 0;

        if (l->dir) {
            struct segment *s = l->dir[dir_index(l, c->hash)];

            for (unsigned i = 0; i < SLOTS; i++) {
                const uint32_t *slot = slot_at(l, s, i);
                if (slot[0] && hash(t->seed, slot + 1, l->words) >= c->hash)
                    entry_fill(&out[n++], is_v4 ? 4 : 16, plen, slot);
            }
            if (s->depth)   /* first hash of the next segment; 0 after the last */
                end = ((c->hash >> (64 - s->depth)) + 1) << (64 - s->depth);
        }
        c->hash = end;
        c->level += !end;
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
