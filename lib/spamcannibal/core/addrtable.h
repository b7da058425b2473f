/* Address table: IPv4 and IPv6 prefixes to a 32-bit value, longest match first.
 *
 * One hash table per prefix length in use, so a lookup costs one probe for each length somebody listed and
 * nothing for the others. addr is packed bytes in network order, addrlen 4 or 16, plen the prefix length in
 * bits; bits of addr beyond plen are ignored. A value of 0 means "absent" and is never stored.
 *
 * Every update does a bounded amount of work whatever the size, nothing is ever rehashed as a whole, and the hash
 * is keyed, since strangers pick the addresses (exthash.h).
 *
 * Locking is the caller's: none of the functions below takes the lock but the at_*lock ones. Readers take it
 * once a batch; a waiting writer goes first, so a thread must not take the read lock twice.
 */
#ifndef SC_ADDRTABLE_H
#define SC_ADDRTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct addrtable;

/* NULL with errno when there is no memory or no randomness. The seeded form is for reproducible fuzzing. */
struct addrtable *at_new(void);
struct addrtable *at_new_seeded(const uint64_t seed[2]);
void at_free(struct addrtable *t);

/* 0, or -1 with errno: ENOMEM (the table is unchanged) or EINVAL (no such prefix, or value 0). */
int at_set(struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen, uint32_t value);
/* 1 removed, 0 was absent. */
int at_del(struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen);

/* Value of the longest prefix that covers addr, or 0; its length in *plen_out if that is not NULL. */
uint32_t at_lookup(const struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned *plen_out);
/* Start fetching what at_lookup(addr) will read. Worth it when other work, or other prefetches of the same
 * batch, stands between the two: a table beyond the cache size costs a memory access per lookup. */
void at_prefetch(const struct addrtable *t, const uint8_t *addr, unsigned addrlen);
/* Value of exactly this prefix, or 0. */
uint32_t at_get(const struct addrtable *t, const uint8_t *addr, unsigned addrlen, unsigned plen);

uint64_t at_count(const struct addrtable *t);
/* Bytes allocated, without the allocator's own overhead. */
uint64_t at_bytes(const struct addrtable *t);

/* Walk all entries in pages, in no useful order. Start with a zeroed cursor; 0 entries means the end. The lock
 * may be dropped between pages: an entry present during the whole walk is seen exactly once. */
enum { AT_PAGE = 512 };
struct at_entry {
    uint8_t addr[16];
    uint8_t addrlen, plen;
    uint32_t value;
};
struct at_cursor {
    unsigned level;
    uint64_t hash;
};
size_t at_page(const struct addrtable *t, struct at_cursor *cursor, struct at_entry out[AT_PAGE]);

void at_rdlock(struct addrtable *t);
bool at_tryrdlock(struct addrtable *t);
void at_rdunlock(struct addrtable *t);
void at_wrlock(struct addrtable *t);
bool at_trywrlock(struct addrtable *t);
void at_wrunlock(struct addrtable *t);

#endif
