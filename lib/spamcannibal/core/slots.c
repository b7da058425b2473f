/* The table of held connections; see slots.h. */
#include "slots.h"

#include <stdlib.h>
#include <string.h>

#include "packet.h"
#include "siphash.h"

struct slots {
    uint64_t hash_key[2];
    uint32_t limit, count;
    uint32_t mask;           /* of the index: a power of two, less one */
    uint32_t oldest, newest;
    uint32_t free;           /* list through chain of the slots given back */
    uint32_t fresh;          /* slots from this number on have never been used: their pages stay untouched */
    uint32_t *heads;
    struct slot *slot;       /* numbers 1..limit */
};

struct slots *slots_new(uint32_t limit, const uint64_t hash_key[2])
{
    struct slots *s = calloc(1, sizeof *s);
    size_t heads = 1;

    if (!s)
        return NULL;
    while (heads < limit)
        heads *= 2;
    s->heads = calloc(heads, sizeof *s->heads);
    s->slot = calloc((size_t)limit + 1, sizeof *s->slot);
    if (!s->heads || !s->slot) {
        slots_free(s);
        return NULL;
    }
    memcpy(s->hash_key, hash_key, sizeof s->hash_key);
    s->limit = limit;
    s->mask = (uint32_t)(heads - 1);
    s->fresh = 1;
    return s;
}

void slots_free(struct slots *s)
{
    if (!s)
        return;
    free(s->heads);
    free(s->slot);
    free(s);
}

uint32_t slots_limit(const struct slots *s) { return s->limit; }

uint32_t slots_count(const struct slots *s) { return s->count; }

static uint32_t number(const struct slots *s, const struct slot *slot) { return (uint32_t)(slot - s->slot); }

static struct slot *at(const struct slots *s, uint32_t n) { return n ? &s->slot[n] : NULL; }

static uint32_t *head(const struct slots *s, const struct conn *key)
{
    return &s->heads[siphash24(s->hash_key, (const uint8_t *)key, sizeof *key) & s->mask];
}

struct slot *slots_find(const struct slots *s, const struct conn *key)
{
    struct slot *slot = at(s, *head(s, key));

    while (slot && memcmp(&slot->key, key, sizeof *key) != 0)
        slot = at(s, slot->chain);
    return slot;
}

struct slot *slots_oldest(const struct slots *s) { return at(s, s->oldest); }

struct slot *slots_newer(const struct slots *s, const struct slot *slot) { return at(s, slot->newer); }

static void append(struct slots *s, struct slot *slot)
{
    uint32_t n = number(s, slot);

    slot->older = s->newest;
    slot->newer = 0;
    if (s->newest)
        s->slot[s->newest].newer = n;
    else
        s->oldest = n;
    s->newest = n;
}

static void unlink_order(struct slots *s, struct slot *slot)
{
    if (slot->older)
        s->slot[slot->older].newer = slot->newer;
    else
        s->oldest = slot->newer;
    if (slot->newer)
        s->slot[slot->newer].older = slot->older;
    else
        s->newest = slot->older;
}

struct slot *slots_take(struct slots *s, const struct conn *key, uint64_t now_ms)
{
    uint32_t *first = head(s, key), n = s->free;
    struct slot *slot;

    if (!n && s->fresh > s->limit)
        return NULL;
    if (!n)
        n = s->fresh++;
    else
        s->free = s->slot[n].chain;
    slot = &s->slot[n];
    *slot = (struct slot){.key = *key, .sent_ms = now_ms, .born_s = (uint32_t)(now_ms / 1000), .chain = *first};
    *first = n;
    append(s, slot);
    s->count++;
    return slot;
}

void slots_drop(struct slots *s, struct slot *slot)
{
    uint32_t n = number(s, slot), *from = head(s, &slot->key);

    while (*from != n)
        from = &s->slot[*from].chain;
    *from = slot->chain;
    unlink_order(s, slot);
    slot->chain = s->free;
    s->free = n;
    s->count--;
}

void slots_sent(struct slots *s, struct slot *slot, uint64_t now_ms)
{
    slot->sent_ms = now_ms;
    unlink_order(s, slot);
    append(s, slot);
}

static void store(uint8_t *p, uint32_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

static uint32_t load(const uint8_t *p, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

void slots_pack(const struct slot *slot, uint64_t now_ms, uint8_t out[SLOT_BYTES])
{
    uint64_t age = now_ms > slot->sent_ms ? now_ms - slot->sent_ms : 0;

    memset(out, 0, SLOT_BYTES);
    out[0] = slot->key.family;
    out[1] = slot->mac_len;
    memcpy(out + 2, slot->mac, 6);
    store(out + 8, (uint32_t)slot->ifindex, 4);
    memcpy(out + 12, slot->key.addr, 32);
    store(out + 44, slot->key.port[0], 2);
    store(out + 46, slot->key.port[1], 2);
    store(out + 48, slot->base, 4);
    store(out + 52, slot->peer_seq, 4);
    store(out + 56, slot->k, 4);
    store(out + 60, age < UINT32_MAX ? (uint32_t)age : UINT32_MAX, 4);
    store(out + 64, (uint32_t)(now_ms / 1000) - slot->born_s, 4);
    out[68] = slot->unacked;
    out[69] = slot->unsure;
}

struct slot *slots_unpack(struct slots *s, uint64_t now_ms, const uint8_t in[SLOT_BYTES])
{
    struct conn key = {.family = in[0], .port = {(uint16_t)load(in + 44, 2), (uint16_t)load(in + 46, 2)}};
    uint64_t age = load(in + 60, 4), now_s = now_ms / 1000, held_s = load(in + 64, 4);
    struct slot *slot;

    memcpy(key.addr, in + 12, 32);
    if ((in[0] != 4 && in[0] != 6) || (in[1] != 0 && in[1] != 6) || slots_find(s, &key))
        return NULL;
    if (!pkt_is_unicast(in[0], key.addr) || !pkt_is_unicast(in[0], key.addr + 16))
        return NULL;
    slot = slots_take(s, &key, now_ms - (age < now_ms ? age : now_ms));
    if (!slot)
        return NULL;
    slot->born_s = (uint32_t)(now_s - (held_s < now_s ? held_s : now_s));
    slot->mac_len = in[1];
    memcpy(slot->mac, in + 2, 6);
    slot->ifindex = (int32_t)load(in + 8, 4);
    slot->base = load(in + 48, 4);
    slot->peer_seq = load(in + 52, 4);
    slot->k = load(in + 56, 4);
    slot->unacked = in[68];
    slot->unsure = in[69] != 0;
    return slot;
}
