/* Slots, timer, bandwidth and statistics of held connections; see trap.h. */
#include "trap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "bucket.h"
#include "siphash.h"
#include "slots.h"

enum { STUTTER_BYTE_V4 = 41, STUTTER_BYTE_V6 = 61, WORK_PER_BYTE = 4 };

struct trap {
    pthread_mutex_t lock;
    struct slots *slots;
    struct trap_settings set;
    struct trap_stats stats; /* held and held_s: of the connections that are over */
    uint64_t born_sum_s;     /* of the connections held now */
    struct bucket bucket;
};

struct trap *trap_new(uint32_t slots)
{
    struct trap *t = calloc(1, sizeof *t);
    uint64_t key[2];

    if (!t || getrandom(key, sizeof key, 0) != sizeof key) {
        free(t);
        return NULL;
    }
    t->slots = slots_new(slots, key);
    if (!t->slots || pthread_mutex_init(&t->lock, NULL) != 0) {
        slots_free(t->slots);
        free(t);
        return NULL;
    }
    return t;
}

void trap_free(struct trap *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    slots_free(t->slots);
    free(t);
}

uint32_t trap_slots(const struct trap *t) { return slots_limit(t->slots); }

void trap_configure(struct trap *t, const struct trap_settings *s)
{
    pthread_mutex_lock(&t->lock);
    bucket_set(&t->bucket, s->bandwidth);
    t->set = *s;
    pthread_mutex_unlock(&t->lock);
}

void trap_config(struct trap *t, struct tp_config *out)
{
    pthread_mutex_lock(&t->lock);
    *out = t->set.tp;
    pthread_mutex_unlock(&t->lock);
}

static bool pay(struct trap *t, uint64_t now_ms, uint64_t len, bool is_new)
{
    if (!bucket_pay(&t->bucket, now_ms, len, is_new))
        return false;
    t->stats.bytes_out += len;
    return true;
}

static struct conn conn_of(const struct pkt *p)
{
    struct conn key = {.port = {p->sport, p->dport}, .family = p->family};

    memcpy(key.addr, p->src, 16);
    memcpy(key.addr + 16, p->dst, 16);
    return key;
}

static void set_link(struct slot *slot, const struct link_addr *link)
{
    slot->ifindex = link->ifindex;
    slot->mac_len = link->mac_len == 6 ? 6 : 0;
    memcpy(slot->mac, link->mac, 6);
}

static void let_go(struct trap *t, struct slot *slot, uint64_t now_ms)
{
    t->stats.held_s += (uint32_t)((uint32_t)(now_ms / 1000) - slot->born_s);
    t->born_sum_s -= slot->born_s;
    slots_drop(t->slots, slot);
}

/* The client's first packet that concerns us: a slot, or else the spare reply. */
static void take_in(struct trap *t, const struct conn *key, const struct pkt *p, struct decision *d, uint64_t now_ms)
{
    struct slot *slot = slots_count(t->slots) < t->set.connections ? slots_take(t->slots, key, now_ms) : NULL;

    if (!slot) {
        t->stats.shed_slots += d->event == TP_ARM;
        d->has_reply |= d->spare_reply;
        if (d->has_reply)
            d->event = d->event == TP_ARM ? TP_GREET : TP_PROBE;
        return;
    }
    slot->base = p->ack - d->k;
    slot->peer_seq = d->peer_seq;
    slot->k = d->k;
    slot->unsure = d->k > 0 && p->payload_len == 0;
    t->stats.armed++;
    t->born_sum_s += slot->born_s;
    if (!d->has_reply)
        d->event = TP_ARM;
}

/* A client we hold: see how far it is, and answer if it asks. */
static void move_on(struct trap *t, struct slot *slot, const struct pkt *p, struct decision *d)
{
    if (slot->unsure && p->payload_len == 0 && p->seq == slot->peer_seq + 1) { /* it was a probe, at its c = -1 */
        slot->base++;
        slot->peer_seq++;
        slot->k--;
        slot->unsure = false;
    }
    const uint32_t step = p->ack - slot->base - slot->k;

    if (step > 0 && step <= TP_STREAM_MAX) {
        slot->k += step;
        slot->unacked = 0;
        t->stats.acked_bytes += step;
    }
    if (p->payload_len > 0 || p->seq == slot->peer_seq - 1) {
        tp_turn(p, PKT_ACK, slot->peer_seq, 0, &d->reply);
        d->has_reply = true;
        d->event = TP_PROBE;
    } else {
        d->event = TP_ACKED;
    }
}

static void apply_slot(struct trap *t, const struct pkt *p, struct decision *d, const struct link_addr *link,
                       uint64_t now_ms)
{
    const struct conn key = conn_of(p);
    struct slot *slot = slots_find(t->slots, &key);

    if (d->slot == TP_SLOT_FREE) {
        if (slot)
            let_go(t, slot, now_ms);
        return;
    }
    if (d->slot == TP_SLOT_OPEN) {
        if (slot && slot->base != d->reply.seq + 1)
            let_go(t, slot, now_ms);
        return;
    }
    if (slot)
        move_on(t, slot, p, d);
    else
        take_in(t, &key, p, d, now_ms);
    slot = slots_find(t->slots, &key);
    if (slot)
        set_link(slot, link);
}

void trap_apply(struct trap *t, const struct pkt *p, struct decision *d, const struct link_addr *link, uint64_t now_ms)
{
    pthread_mutex_lock(&t->lock);
    t->stats.bytes_in += p->total_len;
    if (d->slot != TP_SLOT_NONE)
        apply_slot(t, p, d, link, now_ms);
    if (d->has_reply) {
        const bool is_new = d->event == TP_TRAP || d->event == TP_SYNACK;

        d->has_reply = pay(t, now_ms, pkt_reply_len(&d->reply), is_new);
        if (d->has_reply) {
            t->stats.trapped[d->mode] += d->event == TP_TRAP;
        } else {
            t->stats.shed_new += is_new;
            t->stats.shed_held += !is_new;
            d->event = TP_DROPPED;
        }
    }
    t->stats.events[d->event]++;
    pthread_mutex_unlock(&t->lock);
}

static void next_byte(const struct slot *slot, const struct tp_config *cfg, struct trap_byte *out)
{
    const struct conn *key = &slot->key;

    *out = (struct trap_byte){
        .reply =
            {
                .family = key->family,
                .flags = PKT_PSH | PKT_ACK,
                .sport = key->port[1],
                .dport = key->port[0],
                .seq = slot->base + slot->k,
                .ack = slot->peer_seq,
                .payload = cfg->line + slot->k % cfg->line_len,
                .payload_len = 1,
            },
        .link = {.ifindex = slot->ifindex, .mac_len = slot->mac_len},
    };
    memcpy(out->reply.src, key->addr + 16, 16);
    memcpy(out->reply.dst, key->addr, 16);
    memcpy(out->link.mac, slot->mac, 6);
}

size_t trap_due(struct trap *t, const struct tp_config *cfg, uint64_t now_ms, struct trap_byte out[], size_t max)
{
    size_t n = 0;

    pthread_mutex_lock(&t->lock);
    for (size_t work = 0; work < max * WORK_PER_BYTE && n < max; work++) {
        struct slot *slot = slots_oldest(t->slots);

        if (!slot || now_ms < slot->sent_ms + t->set.interval_ms)
            break;
        if (slot->unacked >= t->set.unacked_limit) {
            t->stats.given_up++;
            let_go(t, slot, now_ms);
            continue;
        }
        slots_sent(t->slots, slot, now_ms);
        if (!pay(t, now_ms, slot->key.family == 4 ? STUTTER_BYTE_V4 : STUTTER_BYTE_V6, false)) {
            t->stats.shed_held++;
            continue;
        }
        slot->unacked++;
        t->stats.sent_bytes++;
        next_byte(slot, cfg, &out[n++]);
    }
    pthread_mutex_unlock(&t->lock);
    return n;
}

uint64_t trap_next_due(struct trap *t)
{
    pthread_mutex_lock(&t->lock);
    const struct slot *slot = slots_oldest(t->slots);
    const uint64_t due = slot ? slot->sent_ms + t->set.interval_ms : UINT64_MAX;
    pthread_mutex_unlock(&t->lock);
    return due;
}

void trap_stats(struct trap *t, uint64_t now_ms, struct trap_stats *out)
{
    pthread_mutex_lock(&t->lock);
    *out = t->stats;
    out->held = slots_count(t->slots);
    out->held_s += out->held * (now_ms / 1000) - t->born_sum_s;
    pthread_mutex_unlock(&t->lock);
}

enum { DUMP_VERSION = 1, DUMP_HEADER = 8 + 16 };

static const uint8_t dump_mark[8] = {'S', 'C', 'T', 'R', 'A', 'P', 0, DUMP_VERSION};

size_t trap_dump(struct trap *t, uint64_t now_ms, uint8_t *out, size_t cap)
{
    pthread_mutex_lock(&t->lock);
    const size_t len = DUMP_HEADER + (size_t)slots_count(t->slots) * SLOT_BYTES;

    if (len <= cap) {
        memcpy(out, dump_mark, sizeof dump_mark);
        for (unsigned i = 0; i < 16; i++)
            out[8 + i] = (uint8_t)(t->set.tp.secret[i / 8] >> 8 * (i % 8));
        out += DUMP_HEADER;
        for (struct slot *s = slots_oldest(t->slots); s; s = slots_newer(t->slots, s), out += SLOT_BYTES)
            slots_pack(s, now_ms, out);
    }
    pthread_mutex_unlock(&t->lock);
    return len;
}

int64_t trap_load(struct trap *t, uint64_t now_ms, const uint8_t *in, size_t len)
{
    if (len < DUMP_HEADER || (len - DUMP_HEADER) % SLOT_BYTES != 0 || memcmp(in, dump_mark, sizeof dump_mark) != 0)
        return -1;
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < 2; i++)
        t->set.tp.secret[i] = sip_word(in + 8 + 8 * i, 8);
    while (slots_oldest(t->slots))
        let_go(t, slots_oldest(t->slots), now_ms);
    for (size_t at = DUMP_HEADER; at < len && slots_count(t->slots) < t->set.connections; at += SLOT_BYTES) {
        const struct slot *slot = slots_unpack(t->slots, now_ms, in + at);

        t->born_sum_s += slot ? slot->born_s : 0;
    }
    const int64_t loaded = slots_count(t->slots);
    pthread_mutex_unlock(&t->lock);
    return loaded;
}
