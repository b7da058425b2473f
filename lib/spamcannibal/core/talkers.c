/* See talkers.h. */
#include "talkers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "siphash.h"

enum { WAYS = 8 };

struct talkers {
    pthread_mutex_t lock;
    uint64_t secret[2];
    size_t set_mask;
    struct talker (*sets)[WAYS];
};

struct talkers *talkers_new(size_t slots)
{
    struct talkers *t = calloc(1, sizeof *t);
    size_t n_sets = 1;

    if (!t)
        return NULL;
    while (n_sets * WAYS < slots)
        n_sets *= 2;
    t->set_mask = n_sets - 1;
    t->sets = calloc(n_sets, sizeof *t->sets);
    if (!t->sets || getrandom(t->secret, sizeof t->secret, 0) != sizeof t->secret) {
        int error = errno;
        free(t->sets);
        free(t);
        errno = error;
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void talkers_free(struct talkers *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t->sets);
    free(t);
}

/* The slot of an address, which may have been another's. */
static struct talker *slot_of(struct talkers *t, const uint8_t *addr, unsigned addrlen)
{
    uint8_t key[16] = {0};
    unsigned bytes = addrlen == 4 ? 4 : 8;

    memcpy(key, addr, bytes);
    struct talker *set = t->sets[siphash24(t->secret, key, bytes) & t->set_mask], *least = set;
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].addrlen == addrlen && memcmp(set[i].addr, key, sizeof key) == 0)
            return &set[i];
        if (set[i].count < least->count)
            least = &set[i];
    }
    least->error = least->count;
    least->limited = 0;
    least->addrlen = (uint8_t)addrlen;
    memcpy(least->addr, key, sizeof key);
    return least;
}

void talkers_note(struct talkers *t, const uint8_t *addr, unsigned addrlen, uint32_t queries, uint32_t limited)
{
    pthread_mutex_lock(&t->lock);
    struct talker *slot = slot_of(t, addr, addrlen);
    slot->count = queries < UINT32_MAX - slot->count ? slot->count + queries : UINT32_MAX;
    slot->limited = limited < UINT32_MAX - slot->limited ? slot->limited + limited : UINT32_MAX;
    pthread_mutex_unlock(&t->lock);
}

size_t talkers_top(struct talkers *t, struct talker *out, size_t n)
{
    size_t found = 0;

    pthread_mutex_lock(&t->lock);
    for (size_t s = 0; n && s <= t->set_mask; s++)
        for (unsigned w = 0; w < WAYS; w++) {
            const struct talker *one = &t->sets[s][w];
            size_t at = found;

            if (!one->count || (found == n && one->count <= out[n - 1].count))
                continue;
            if (found < n)
                found++;
            else
                at = n - 1;
            for (; at > 0 && out[at - 1].count < one->count; at--)
                out[at] = out[at - 1];
            out[at] = *one;
        }
    pthread_mutex_unlock(&t->lock);
    return found;
}
