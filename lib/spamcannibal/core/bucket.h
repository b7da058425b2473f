/* A token bucket for bytes: one second's worth (at least 1024 bytes), its last quarter kept for who is already held. */
#ifndef SC_BUCKET_H
#define SC_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    uint64_t rate;   /* bytes a second, 0: no cap; below 2^40 */
    uint64_t tokens; /* thousandths of a byte */
    uint64_t filled_ms;
};

enum { BUCKET_MIN_BYTES = 1024 };

static inline uint64_t bucket_size(const struct bucket *b)
{
    return (b->rate > BUCKET_MIN_BYTES ? b->rate : BUCKET_MIN_BYTES) * 1000;
}

/* A new rate starts with a full bucket; the same rate changes nothing. */
static inline void bucket_set(struct bucket *b, uint64_t rate)
{
    if (rate == b->rate)
        return;
    b->rate = rate;
    b->tokens = bucket_size(b);
}

static inline void bucket_fill(struct bucket *b, uint64_t now_ms)
{
    const uint64_t size = bucket_size(b), whole_ms = size / b->rate + 1;

    if (now_ms <= b->filled_ms)
        return;
    const uint64_t passed_ms = now_ms - b->filled_ms;
    const uint64_t tokens = passed_ms < whole_ms ? b->tokens + passed_ms * b->rate : size;

    b->tokens = tokens < size ? tokens : size;
    b->filled_ms = now_ms;
}

/* Take len bytes out, if they are there; who is new must leave a quarter. */
static inline bool bucket_pay(struct bucket *b, uint64_t now_ms, uint64_t len, bool is_new)
{
    if (b->rate == 0)
        return true;
    bucket_fill(b, now_ms);
    if (b->tokens < len * 1000 + (is_new ? bucket_size(b) / 4 : 0))
        return false;
    b->tokens -= len * 1000;
    return true;
}

#endif
