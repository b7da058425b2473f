/* A multiset of numbers in order, that answers "is any between these two?".
 *
 * Numbers are bytes in network order, all of one width. They lie in blocks of 8 KB, so an update moves the bytes of
 * one block only, whatever the size; a second array holds the first number of each block. In order of arrival, as
 * a store hands them out, they fill their blocks; otherwise blocks are two thirds full. A number added twice must be
 * removed twice. No locking.
 */
#ifndef SC_ORDERED_H
#define SC_ORDERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ORD_BLOCK_BYTES = 8192, ORD_WIDTH = 16 };

struct ord_block;

struct ordered {
    unsigned width;             /* bytes of a number, to ORD_WIDTH */
    struct ord_block **blocks;  /* none of them is empty */
    uint8_t *firsts;            /* the first number of each */
    size_t n_blocks, room;
};

void ord_open(struct ordered *o, unsigned width);
void ord_close(struct ordered *o);

/* 0, or -1 without memory, with nothing changed. */
int ord_add(struct ordered *o, const uint8_t *number);
/* Take a number out once; whether it was there. */
bool ord_remove(struct ordered *o, const uint8_t *number);
/* Whether a number from low to high, both included, is in. */
bool ord_any(const struct ordered *o, const uint8_t *low, const uint8_t *high);

/* Bytes allocated, without the allocator's own overhead. */
uint64_t ord_bytes(const struct ordered *o);

#endif
