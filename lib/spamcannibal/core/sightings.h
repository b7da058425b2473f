/* Who was seen since the last drain: a bounded map from source address to count, first and last time.
 *
 * Two generations: the packet loop notes into one while the other is read at leisure; sight_swap changes them.
 * The loop holds the lock once a batch, the reader only for the swap. At most `limit` sources a generation, at most
 * PROBES slots looked at a note: past either, the sighting is shed and counted, the packet is not concerned.
 * The hash is keyed, since strangers pick the addresses.
 */
#ifndef SC_SIGHTINGS_H
#define SC_SIGHTINGS_H

#include <stdbool.h>
#include <stdint.h>

struct sightings;

struct sighting {
    uint8_t addr[16];   /* IPv4 in the first 4 bytes, the rest 0 */
    uint32_t count;     /* 0: slot is free */
    uint32_t first_ms;  /* both after the generation's base_ms */
    uint32_t last_ms;
    uint8_t addrlen;    /* 4 or 16 */
    uint8_t listed;     /* 1: was on the list when last seen */
    uint16_t unused;
};

/* NULL when there is no memory. limit is at least 1, at most 1 << 24. */
struct sightings *sight_new(uint32_t limit, const uint64_t seed[2]);
void sight_free(struct sightings *s);

/* Around the notes of one batch; now_ms is what its notes are stamped with. */
void sight_begin(struct sightings *s, uint64_t now_ms);
void sight_end(struct sightings *s);

/* Between begin and end: the hash to prefetch by and to note with. */
uint32_t sight_hash(const struct sightings *s, const uint8_t *addr, unsigned addrlen);
void sight_prefetch(const struct sightings *s, uint32_t hash);
/* false: shed. */
bool sight_note(struct sightings *s, uint32_t hash, const uint8_t *addr, unsigned addrlen, bool listed);

/* Change generations; the one just filled is then read by index 0..n-1 until the next swap, which empties it.
 * One reader at a time. */
uint32_t sight_swap(struct sightings *s, uint64_t *base_ms);
const struct sighting *sight_at(const struct sightings *s, uint32_t index);

#endif
