/* Extendible hash (Fagin et al., ACM TODS 4(3), 1979); exthash.h has the interface.
 *
 *   dir[hash >> (64 - depth)] -> segment {used, depth, slots[512]}    several entries may share one segment
 *   slot = value u32 | key u32 x words                                value 0: free; probed linearly from the
 *                                                                     low bits of the same hash
 *
 * A segment at three quarters is split by the next bit of its keys' hashes, so there is never an old copy beside
 * a new one: between 11 and 22 bytes an entry with keys of one word. The directory doubles by a plain copy, at
 * 10 M entries of 256 KB.
 */
#include "exthash.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "siphash.h"

enum {
    SLOTS = XH_SLOTS,
    FULL = SLOTS * 3 / 4,
    SPARSE = SLOTS / 4,     /* so far below FULL that set and delete in turn do not split and join */
    MAX_DEPTH = 24,         /* 6 G entries; only a broken hash gets there sooner */
    PREFETCH_DEPTH = 5,     /* what is smaller stays in the cache by itself */
};

struct xh_segment {
    uint32_t used, depth;
    uint32_t slots[];
};

/* ---- hash ---- */

/* SipHash-1-3, the usual one for hash tables; without its length block, as all keys of a table are equally long. */
static inline uint64_t hash(const struct exthash *x, const uint32_t *key)
{
    uint64_t v[4];

    sip_start(v, x->seed);
    for (unsigned i = 0; i < x->words; i += 2)
        sip_add(v, key[i] | (i + 1 < x->words ? (uint64_t)key[i + 1] << 32 : 0), 1);
    return sip_end(v, 3);
}

/* ---- slots of one segment ---- */

static inline uint32_t *slot_at(const struct exthash *x, struct xh_segment *s, unsigned i)
{
    return s->slots + (size_t)i * (1 + x->words);
}

static inline size_t slots_size(const struct exthash *x)
{
    return sizeof(uint32_t) * SLOTS * (1 + x->words);
}

static inline void slot_copy(const struct exthash *x, uint32_t *to, const uint32_t *from)
{
    memcpy(to, from, sizeof *to * (1 + x->words));
}

static inline bool same_key(const uint32_t *a, const uint32_t *b, unsigned n)
{
    uint32_t diff = 0;

    for (unsigned i = 0; i < n; i++)
        diff |= a[i] ^ b[i];
    return !diff;
}

/* The key's slot, or the free one where it belongs. Ends because a segment is never completely full. */
static inline uint32_t *slot_find(const struct exthash *x, struct xh_segment *s, const uint32_t *key, uint64_t h)
{
    for (unsigned i = h % SLOTS;; i = (i + 1) % SLOTS) {
        uint32_t *slot = slot_at(x, s, i);

        if (!slot[0] || same_key(slot + 1, key, x->words))
            return slot;
    }
}

static void slot_put(const struct exthash *x, struct xh_segment *s, const uint32_t *slot, uint64_t h)
{
    slot_copy(x, slot_find(x, s, slot + 1, h), slot);
    s->used++;
}

/* Free a slot and move up those after it that would no longer be found: no tombstones. */
static void slot_erase(const struct exthash *x, struct xh_segment *s, const uint32_t *slot)
{
    unsigned hole = (unsigned)((size_t)(slot - s->slots) / (1 + x->words));

    for (unsigned i = (hole + 1) % SLOTS;; i = (i + 1) % SLOTS) {
        const uint32_t *next = slot_at(x, s, i);

        if (!next[0])
            break;
        if ((i - hash(x, next + 1)) % SLOTS >= (i - hole) % SLOTS) {
            slot_copy(x, slot_at(x, s, hole), next);
            hole = i;
        }
    }
    slot_at(x, s, hole)[0] = 0;
    s->used--;
}

/* ---- directory and segments ---- */

static inline size_t dir_index(const struct exthash *x, uint64_t h)
{
    return x->depth ? (size_t)(h >> (64 - x->depth)) : 0;
}

static inline struct xh_segment *segment_of(const struct exthash *x, uint64_t h)
{
    return x->dir[dir_index(x, h)];
}

/* Let all directory entries that share their first depth bits with h lead to s. */
static void dir_point(struct exthash *x, uint64_t h, unsigned depth, struct xh_segment *s)
{
    size_t n = (size_t)1 << (x->depth - depth), first = dir_index(x, h) & ~(n - 1);

    for (size_t i = 0; i < n; i++)
        x->dir[first + i] = s;
}

static int dir_double(struct exthash *x)
{
    size_t n = (size_t)1 << x->depth;
    struct xh_segment **wide = x->depth < MAX_DEPTH ? malloc(2 * n * sizeof *wide) : NULL;

    if (!wide)
        return -1;
    for (size_t i = 0; i < 2 * n; i++)
        wide[i] = x->dir[i / 2];
    free(x->dir);
    x->dir = wide;
    x->depth++;
    return 0;
}

static struct xh_segment *segment_new(struct exthash *x, unsigned depth)
{
    struct xh_segment *s = calloc(1, sizeof *s + slots_size(x));

    if (s) {
        s->depth = depth;
        x->segments++;
    }
    return s;
}

/* Give half of the segment that holds hash h to a new one. */
static int segment_split(struct exthash *x, uint64_t h)
{
    struct xh_segment *lower = segment_of(x, h), *upper;
    uint32_t old[XH_SLOTS * (1 + XH_WORDS)];
    unsigned bit = 63 - lower->depth;

    if (lower->depth == x->depth && dir_double(x) < 0)
        return -1;
    if (!(upper = segment_new(x, lower->depth + 1)))
        return -1;
    memcpy(old, lower->slots, slots_size(x));
    memset(lower->slots, 0, slots_size(x));
    lower->used = 0;
    lower->depth++;
    dir_point(x, h | (uint64_t)1 << bit, lower->depth, upper);
    for (unsigned i = 0; i < SLOTS; i++) {
        const uint32_t *slot = old + (size_t)i * (1 + x->words);

        if (slot[0]) {
            uint64_t its = hash(x, slot + 1);
            slot_put(x, its >> bit & 1 ? upper : lower, slot, its);
        }
    }
    return 0;
}

/* Join the segment that holds hash h with its neighbour as long as both together are sparse. */
static void segment_join(struct exthash *x, uint64_t h)
{
    for (;;) {
        struct xh_segment *s = segment_of(x, h), *other;

        if (!s->depth)
            return;
        other = segment_of(x, h ^ (uint64_t)1 << (64 - s->depth));
        if (other->depth != s->depth || s->used + other->used > SPARSE)
            return;
        for (unsigned i = 0; i < SLOTS; i++) {
            const uint32_t *slot = slot_at(x, other, i);

            if (slot[0])
                slot_put(x, s, slot, hash(x, slot + 1));
        }
        s->depth--;
        dir_point(x, h, s->depth, s);
        free(other);
        x->segments--;
    }
}

/* ---- interface ---- */

int xh_open(struct exthash *x, unsigned words, const uint64_t seed[2])
{
    *x = (struct exthash){.words = words, .seed = {seed[0], seed[1]}};
    if (!(x->dir = malloc(sizeof *x->dir)))
        return -1;
    if (!(x->dir[0] = segment_new(x, 0))) {
        free(x->dir);
        x->dir = NULL;
        return -1;
    }
    return 0;
}

void xh_close(struct exthash *x)
{
    size_t n = (size_t)1 << x->depth, span;

    for (size_t i = 0; i < n; i += span) {
        span = n >> x->dir[i]->depth;
        free(x->dir[i]);
    }
    free(x->dir);
    x->dir = NULL;
}

int xh_set(struct exthash *x, const uint32_t *key, uint32_t value)
{
    uint64_t h = hash(x, key);
    struct xh_segment *s = segment_of(x, h);
    uint32_t *slot = slot_find(x, s, key, h);

    if (slot[0]) {
        slot[0] = value;
        return 0;
    }
    while (s->used >= FULL && segment_split(x, h) == 0)
        s = segment_of(x, h);
    if (s->used == SLOTS - 1)   /* could not be split, and one slot has to stay free */
        return -1;
    slot = slot_find(x, s, key, h);
    slot[0] = value;
    memcpy(slot + 1, key, sizeof *key * x->words);
    s->used++;
    x->count++;
    return 0;
}

int xh_del(struct exthash *x, const uint32_t *key)
{
    uint64_t h = hash(x, key);
    struct xh_segment *s = segment_of(x, h);
    const uint32_t *slot = slot_find(x, s, key, h);

    if (!slot[0])
        return 0;
    slot_erase(x, s, slot);
    x->count--;
    segment_join(x, h);
    return 1;
}

uint32_t xh_get(const struct exthash *x, const uint32_t *key)
{
    uint64_t h = hash(x, key);

    return slot_find(x, segment_of(x, h), key, h)[0];
}

void xh_prefetch(const struct exthash *x, const uint32_t *key)
{
    if (x->depth < PREFETCH_DEPTH)
        return;
    uint64_t h = hash(x, key);
    __builtin_prefetch(slot_at(x, segment_of(x, h), h % SLOTS));
}

uint64_t xh_bytes(const struct exthash *x)
{
    return x->segments * (sizeof(struct xh_segment) + slots_size(x)) + (sizeof *x->dir << x->depth);
}

/* A page is one segment. The position is a hash, not an index, and what lies below it is skipped: so it stands
 * splits and joins. */
size_t xh_page(const struct exthash *x, uint64_t *position, uint32_t out[XH_SLOTS * (1 + XH_WORDS)])
{
    struct xh_segment *s = segment_of(x, *position);
    size_t n = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        const uint32_t *slot = slot_at(x, s, i);

        if (slot[0] && hash(x, slot + 1) >= *position)
            slot_copy(x, out + n++ * (1 + x->words), slot);
    }
    *position = s->depth ? ((*position >> (64 - s->depth)) + 1) << (64 - s->depth) : 0;
    return n;
}
