/* See sightings.h. Open addressing at a load of at most one half; the slots in use stand in `order`, so that
 * reading and emptying cost what was seen, not what could have been. */
#include "sightings.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PROBES = 32 };

struct generation {
    struct sighting *slots;
    uint32_t *order;
    uint32_t used;
    uint64_t base_ms;
};

struct sightings {
    pthread_mutex_t lock;
    uint64_t seed[2];
    uint32_t limit, mask;
    struct generation generation[2];
    unsigned active;
    uint32_t now;            /* of this batch, after the base of the active generation */
};

static struct generation *active(struct sightings *s) { return &s->generation[s->active]; }

/* Every note goes somewhere else in the map: with pages of 4 KB each would miss the processor's page cache too. */
static void *huge_zeroed(size_t bytes)
{
    enum { HUGE_PAGE = 2 << 20 };
    size_t rounded = (bytes + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1);
    void *memory = bytes < HUGE_PAGE ? calloc(1, bytes) : aligned_alloc(HUGE_PAGE, rounded);
    if (memory && bytes >= HUGE_PAGE) {
        madvise(memory, rounded, MADV_HUGEPAGE);
        memset(memory, 0, rounded);
    }
    return memory;
}

struct sightings *sight_new(uint32_t limit, const uint64_t seed[2])
{
    struct sightings *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->limit = limit;
    memcpy(s->seed, seed, sizeof s->seed);
    uint32_t size = 64;
    while (size / 2 < limit)
        size *= 2;
    s->mask = size - 1;
    pthread_mutex_init(&s->lock, NULL);
    for (int i = 0; i < 2; i++) {
        s->generation[i].slots = huge_zeroed((size_t)size * sizeof(struct sighting));
        s->generation[i].order = calloc(limit, sizeof(uint32_t));
        if (!s->generation[i].slots || !s->generation[i].order) {
            sight_free(s);
            return NULL;
        }
    }
    return s;
}

void sight_free(struct sightings *s)
{
    if (!s)
        return;
    for (int i = 0; i < 2; i++) {
        free(s->generation[i].slots);
        free(s->generation[i].order);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void sight_begin(struct sightings *s, uint64_t now_ms)
{
    pthread_mutex_lock(&s->lock);
    struct generation *g = active(s);
    if (g->used == 0)
        g->base_ms = now_ms;
    uint64_t after = now_ms > g->base_ms ? now_ms - g->base_ms : 0; /* the clock was set back: stand still */
    s->now = after < UINT32_MAX ? (uint32_t)after : UINT32_MAX;
}

void sight_end(struct sightings *s) { pthread_mutex_unlock(&s->lock); }

/* Two halves of a 64x64 bit product, folded: keyed multiplicative hashing as in wyhash. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint32_t sight_hash(const struct sightings *s, const uint8_t *addr, unsigned addrlen)
{
    uint64_t high = 0, low = 0;
    memcpy(&high, addr, addrlen == 16 ? 8 : 4);
    if (addrlen == 16)
        memcpy(&low, addr + 8, 8);
    uint64_t h = fold(high ^ s->seed[0], low ^ s->seed[1] ^ addrlen);
    return (uint32_t)(fold(h ^ s->seed[1], s->seed[0] | 1) >> 16);
}

void sight_prefetch(const struct sightings *s, uint32_t hash)
{
    __builtin_prefetch(&s->generation[s->active].slots[hash & s->mask], 1);
}

static bool is_same(const struct sighting *slot, const uint8_t *addr, unsigned addrlen)
{
    return slot->addrlen == addrlen && memcmp(slot->addr, addr, addrlen) == 0;
}

bool sight_note(struct sightings *s, uint32_t hash, const uint8_t *addr, unsigned addrlen, bool listed)
{
    struct generation *g = active(s);

    for (uint32_t i = 0; i < PROBES; i++) {
        uint32_t index = (hash + i) & s->mask;
        struct sighting *slot = &g->slots[index];
        if (slot->count == 0) {
            if (g->used >= s->limit)
                return false;
            g->order[g->used++] = index;
            memcpy(slot->addr, addr, addrlen);
            slot->addrlen = (uint8_t)addrlen;
            slot->first_ms = s->now;
        } else if (!is_same(slot, addr, addrlen)) {
            continue;
        }
        if (slot->count < UINT32_MAX)
            slot->count++;
        slot->last_ms = s->now;
        slot->listed = listed;
        return true;
    }
    return false;
}

uint32_t sight_swap(struct sightings *s, uint64_t *base_ms)
{
    struct generation *rest = &s->generation[s->active ^ 1];
    for (uint32_t i = 0; i < rest->used; i++)
        memset(&rest->slots[rest->order[i]], 0, sizeof *rest->slots);
    rest->used = 0;

    pthread_mutex_lock(&s->lock);
    struct generation *full = active(s);
    s->active ^= 1;
    pthread_mutex_unlock(&s->lock);
    *base_ms = full->base_ms;
    return full->used;
}

const struct sighting *sight_at(const struct sightings *s, uint32_t index)
{
    const struct generation *g = &s->generation[s->active ^ 1];
    return &g->slots[g->order[index]];
}
