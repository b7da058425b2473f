/* Extendible hash from keys of 1 to 4 words to a 32-bit value, for the address table.
 *
 * A value of 0 means "absent" and is never stored. The hash is keyed, since strangers pick the keys. Every update
 * does a bounded amount of work whatever the size: a full segment of 512 slots is split in two, two sparse ones
 * are joined, nothing is ever rehashed as a whole. No locking.
 */
#ifndef SC_EXTHASH_H
#define SC_EXTHASH_H

#include <stddef.h>
#include <stdint.h>

enum { XH_SLOTS = 512, XH_WORDS = 4 };

struct xh_segment;

/* In use when dir is not NULL. */
struct exthash {
    struct xh_segment **dir;
    unsigned depth, words;
    uint64_t segments, count;
    uint64_t seed[2];
};

/* 0, or -1 without memory. */
int xh_open(struct exthash *x, unsigned words, const uint64_t seed[2]);
void xh_close(struct exthash *x);

/* key is x->words words; value is not 0. 0, or -1 without memory, with nothing changed. */
int xh_set(struct exthash *x, const uint32_t *key, uint32_t value);
/* 1 removed, 0 was absent. */
int xh_del(struct exthash *x, const uint32_t *key);
uint32_t xh_get(const struct exthash *x, const uint32_t *key);
/* Start fetching what xh_get will read, if the table is large enough for that to matter. */
void xh_prefetch(const struct exthash *x, const uint32_t *key);

/* Bytes allocated, without the allocator's own overhead. */
uint64_t xh_bytes(const struct exthash *x);

/* Walk in pages from position 0 until it is 0 again: fill out with slots of 1 + words words (value, key) and
 * return their number, which may be 0 before the end. What is there during the whole walk is seen exactly once,
 * whatever else is set or deleted between two pages. */
size_t xh_page(const struct exthash *x, uint64_t *position, uint32_t out[XH_SLOTS * (1 + XH_WORDS)]);

#endif
