/* See ordered.h. */
#include "ordered.h"

#include <stdlib.h>
#include <string.h>

struct ord_block {
    uint32_t used;
    uint8_t numbers[ORD_BLOCK_BYTES];
};

void ord_open(struct ordered *o, unsigned width)
{
    *o = (struct ordered){.width = width};
}

void ord_close(struct ordered *o)
{
    for (size_t i = 0; i < o->n_blocks; i++)
        free(o->blocks[i]);
    free(o->blocks);
    free(o->firsts);
    ord_open(o, o->width);
}

uint64_t ord_bytes(const struct ordered *o)
{
    return o->n_blocks * sizeof(struct ord_block) + o->room * (sizeof *o->blocks + o->width);
}

/* ---- search ---- */

/* How many of n numbers in order are not above this one. */
static size_t not_above(const struct ordered *o, const uint8_t *numbers, size_t n, const uint8_t *number)
{
    size_t low = 0;

    while (low < n) {
        size_t middle = (low + n) / 2;

        if (memcmp(numbers + middle * o->width, number, o->width) <= 0)
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}

static uint8_t *number_at(const struct ordered *o, const struct ord_block *b, size_t i)
{
    return (uint8_t *)b->numbers + i * o->width;
}

bool ord_any(const struct ordered *o, const uint8_t *low, const uint8_t *high)
{
    size_t i = not_above(o, o->firsts, o->n_blocks, high);

    if (i == 0)
        return false;
    const struct ord_block *b = o->blocks[i - 1];
    return memcmp(number_at(o, b, not_above(o, b->numbers, b->used, high) - 1), low, o->width) >= 0;
}

/* ---- blocks ---- */

static size_t capacity(const struct ordered *o)
{
    return ORD_BLOCK_BYTES / o->width;
}

static void note_first(struct ordered *o, size_t i)
{
    memcpy(o->firsts + i * o->width, o->blocks[i]->numbers, o->width);
}

static int reserve(struct ordered *o)
{
    if (o->n_blocks < o->room)
        return 0;
    size_t room = o->room ? o->room * 2 : 8;
    struct ord_block **blocks = realloc(o->blocks, room * sizeof *blocks);
    if (blocks)
        o->blocks = blocks;
    uint8_t *firsts = realloc(o->firsts, room * o->width);
    if (firsts)
        o->firsts = firsts;
    if (!blocks || !firsts)
        return -1;
    o->room = room;
    return 0;
}

/* Make room for a block at i, with nothing in it. */
static struct ord_block *block_insert(struct ordered *o, size_t i)
{
    struct ord_block *b = reserve(o) < 0 ? NULL : malloc(sizeof *b);

    if (!b)
        return NULL;
    memmove(o->blocks + i + 1, o->blocks + i, (o->n_blocks - i) * sizeof *o->blocks);
    memmove(o->firsts + (i + 1) * o->width, o->firsts + i * o->width, (o->n_blocks - i) * o->width);
    o->blocks[i] = b;
    o->n_blocks++;
    b->used = 0;
    return b;
}

static void block_remove(struct ordered *o, size_t i)
{
    free(o->blocks[i]);
    if (--o->n_blocks == 0) {
        ord_close(o);
        return;
    }
    memmove(o->blocks + i, o->blocks + i + 1, (o->n_blocks - i) * sizeof *o->blocks);
    memmove(o->firsts + i * o->width, o->firsts + (i + 1) * o->width, (o->n_blocks - i) * o->width);
}

/* Move what is past `keep` into a new block after it; of the last block only its end, as what comes in order goes on
 * behind it. */
static int block_split(struct ordered *o, size_t i)
{
    size_t keep = i + 1 == o->n_blocks ? capacity(o) - 1 : capacity(o) / 2;
    struct ord_block *upper = block_insert(o, i + 1);

    if (!upper)
        return -1;
    struct ord_block *lower = o->blocks[i];
    upper->used = lower->used - (uint32_t)keep;
    lower->used = (uint32_t)keep;
    memcpy(upper->numbers, number_at(o, lower, keep), upper->used * o->width);
    note_first(o, i + 1);
    return 0;
}

/* Append a sparse block to the one before it, if that leaves room for more. */
static void block_join(struct ordered *o, size_t i)
{
    if (i == 0 || i >= o->n_blocks || o->blocks[i - 1]->used + o->blocks[i]->used > capacity(o) / 2)
        return;
    struct ord_block *lower = o->blocks[i - 1], *upper = o->blocks[i];
    memcpy(number_at(o, lower, lower->used), upper->numbers, upper->used * o->width);
    lower->used += upper->used;
    block_remove(o, i);
}

/* ---- updates ---- */

int ord_add(struct ordered *o, const uint8_t *number)
{
    size_t i = not_above(o, o->firsts, o->n_blocks, number);

    i -= i > 0;
    if (o->n_blocks == 0 && !block_insert(o, 0))
        return -1;
    if (o->blocks[i]->used == capacity(o)) {
        if (block_split(o, i) < 0)
            return -1;
        i += memcmp(o->firsts + (i + 1) * o->width, number, o->width) <= 0;
    }
    struct ord_block *b = o->blocks[i];
    size_t at = not_above(o, b->numbers, b->used, number);
    memmove(number_at(o, b, at + 1), number_at(o, b, at), (b->used - at) * o->width);
    memcpy(number_at(o, b, at), number, o->width);
    b->used++;
    note_first(o, i);
    return 0;
}

bool ord_remove(struct ordered *o, const uint8_t *number)
{
    size_t i = not_above(o, o->firsts, o->n_blocks, number);

    if (i == 0)
        return false;
    struct ord_block *b = o->blocks[--i];
    size_t at = not_above(o, b->numbers, b->used, number) - 1;
    if (memcmp(number_at(o, b, at), number, o->width) != 0)
        return false;
    b->used--;
    memmove(number_at(o, b, at), number_at(o, b, at + 1), (b->used - at) * o->width);
    if (b->used == 0) {
        block_remove(o, i);
        return true;
    }
    note_first(o, i);
    block_join(o, i + 1);
    block_join(o, i);
    return true;
}
