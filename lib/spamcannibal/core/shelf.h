/* What one kind of DNS zone shows: an address table of it, and an index of what lies below a prefix.
 *
 * Values are the store's (record.py). Only what the zone shows is in: published entries and exclusions, and in a
 * promiscuous one hearsay too, or only what has one code and one set of flags (a colour). What is hidden is left out, so that a hidden host does not uncover itself inside a
 * published network, and one look-up finds the answer.
 *
 * The index holds the network addresses of all entries but exclusions, in order: of IPv4, of IPv6 to /64 (their upper
 * halves) and of longer IPv6 ones.
 *
 * Locking is the caller's: the lock of shelf_table(), as addrtable.h says.
 */
#ifndef SC_SHELF_H
#define SC_SHELF_H

#include <stdbool.h>
#include <stdint.h>

struct addrtable;
struct shelf;

/* `only`, if not 0, is a table value: the shelf shows just the entries of its code and flags, as published ones.
 * NULL with errno when there is no memory or no randomness. */
struct shelf *shelf_new(bool promiscuous, uint32_t only);
void shelf_free(struct shelf *s);

/* What is shown; only to read. */
struct addrtable *shelf_table(const struct shelf *s);

/* Take an entry in, or out if it is not to be shown: 0, or -1 without memory, with nothing changed. */
int shelf_set(struct shelf *s, const uint8_t *addr, unsigned addrlen, unsigned plen, uint32_t value);
/* 1 removed, 0 was absent. */
int shelf_del(struct shelf *s, const uint8_t *addr, unsigned addrlen, unsigned plen);

/* Whether any address under a prefix is listed; may say yes where exclusions leave none. */
bool shelf_has_below(const struct shelf *s, const uint8_t *addr, unsigned addrlen, unsigned plen);

/* Bytes allocated, without the allocator's own overhead: of table and index, of the index alone. */
uint64_t shelf_bytes(const struct shelf *s);
uint64_t shelf_index_bytes(const struct shelf *s);

#endif
