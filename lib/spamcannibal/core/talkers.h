/* Who asks most, in a table of fixed size: a space-saving sketch (Metwally et al. 2005) in sets of eight.
 *
 * An address (IPv6: its /64) that is not in its set takes the place of the one with the smallest count, and that count
 * too, as `error`: a count is at most `error` too high. Who asks often stays, whatever a flood of others brings.
 * Any thread may call.
 */
#ifndef SC_TALKERS_H
#define SC_TALKERS_H

#include <stddef.h>
#include <stdint.h>

struct talkers;

struct talker {
    uint8_t addr[16]; /* IPv6: with the lower half zero */
    uint8_t addrlen;
    uint32_t count, error, limited;
};

/* NULL with errno; slots are rounded up to a power of two. */
struct talkers *talkers_new(size_t slots);
void talkers_free(struct talkers *t);

/* So many queries more, and so many of their replies dropped or cut by the rate limit. */
void talkers_note(struct talkers *t, const uint8_t *addr, unsigned addrlen, uint32_t queries, uint32_t limited);

/* The n highest counts into out, highest first; how many there are. */
size_t talkers_top(struct talkers *t, struct talker *out, size_t n);

#endif
