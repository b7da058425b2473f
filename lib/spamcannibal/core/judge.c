/* See judge.h. */
#include "judge.h"

#include <string.h>

#include "addrtable.h"

const char *const judge_count_names[] = {
    "turns", "batches", "packets", "listed", "accepted", "dropped", "bad", "truncated", "fragments", "malformed",
    "refused", "unseen", "verdicts_late", "replies", "replies_failed", "sightings_shed", "events_lost", NULL,
};
_Static_assert(sizeof judge_count_names / sizeof(char *) == sizeof(struct judge_counts) / sizeof(uint64_t) + 1,
               "a name for every counter");

/* ---- One packet ---- */

/* Per connection what an operator reads; answers to probes and plain ACKs would drown it and are only counted. */
static bool is_event_told(uint8_t event)
{
    return event != TP_NONE && event != TP_PROBE && event != TP_ACKED && event != TP_STRAY;
}

static void tell_event(struct judge *j, const struct pkt *p, const struct decision *d)
{
    uint64_t in = atomic_load_explicit(&j->events_in, memory_order_relaxed);
    if (in - atomic_load_explicit(&j->events_out, memory_order_acquire) == JUDGE_EVENTS) {
        j->counts.events_lost++;
        return;
    }
    struct judge_event *e = &j->events[in % JUDGE_EVENTS];
    e->time_ms = j->epoch_ms;
    memcpy(e->src, p->src, sizeof e->src);
    memcpy(e->dst, p->dst, sizeof e->dst);
    e->sport = p->sport;
    e->dport = p->dport;
    e->family = p->family;
    e->event = d->event;
    e->mode = d->mode;
    atomic_store_explicit(&j->events_in, in + 1, memory_order_release);
}

void judge_reply(struct judge *j, const struct link_addr *peer, const struct reply *reply)
{
    uint8_t *room = links_room(j->links, peer, reply->family);
    size_t len = pkt_build(reply, room, LINK_PACKET_BYTES);
    if (len)
        links_add(j->links, peer, reply->family, len);
}

static void judge(struct judge *j, struct judged *item)
{
    struct decision decision;
    tp_decide(&item->packet, item->value, &j->config, &decision);
    if (decision.event != TP_NONE) {
        trap_apply(j->trap, &item->packet, &decision, &item->peer, j->clock_ms);
        if (decision.has_reply)
            judge_reply(j, &item->peer, &decision.reply);
        if (is_event_told(decision.event))
            tell_event(j, &item->packet, &decision);
    }
    item->is_dropped = decision.verdict == TP_DROP;
}

bool judge_event(struct judge *j, struct judge_event *out)
{
    uint64_t at = atomic_load_explicit(&j->events_out, memory_order_relaxed);
    if (at == atomic_load_explicit(&j->events_in, memory_order_acquire))
        return false;
    *out = j->events[at % JUDGE_EVENTS];
    atomic_store_explicit(&j->events_out, at + 1, memory_order_release);
    return true;
}

static bool is_loopback(const struct pkt *p)
{
    static const uint8_t one[16] = {[15] = 1};
    return p->family == 4 ? p->src[0] == 127 : memcmp(p->src, one, sizeof one) == 0;
}

/* Remembered is who sent something that the settings have us look at. */
static bool is_sighting(const struct pkt *p, const struct tp_config *config)
{
    if (p->family == 0 || p->kind == PKT_BAD)
        return false;
    if (p->proto != PKT_PROTO_TCP && !config->other_protocols)
        return false;
    return config->loopback || !is_loopback(p);
}

static unsigned addrlen(const struct pkt *p) { return p->family == 4 ? 4 : 16; }

void judge_begin(struct judge *j) { at_rdlock(j->table); }

void judge_decode(struct judge *j, struct judged *item, const uint8_t *data, size_t caplen)
{
    enum pkt_kind kind = pkt_decode(data, caplen, false, &item->packet);
    j->counts.packets++;
    j->counts.bad += kind == PKT_BAD;
    j->counts.truncated += kind == PKT_TRUNCATED;
    j->counts.fragments += kind == PKT_FRAGMENT;
    item->is_sighting = is_sighting(&item->packet, &j->config);
    if (item->packet.family)
        at_prefetch(j->table, item->packet.src, addrlen(&item->packet));
}

/* ---- One batch ---- */

static void look_up(struct judge *j, struct judged items[], unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct pkt *p = &items[i].packet;
        items[i].value = p->family ? at_lookup(j->table, p->src, addrlen(p), NULL) : 0;
        j->counts.listed += items[i].value != 0;
    }
    at_rdunlock(j->table);
}

void judge_batch(struct judge *j, struct judged items[], unsigned count)
{
    look_up(j, items, count);
    for (unsigned i = 0; i < count; i++) {
        judge(j, &items[i]);
        if (items[i].is_dropped)
            j->counts.dropped++;
        else
            j->counts.accepted++;
    }
}

void judge_note(struct judge *j, struct judged items[], unsigned count)
{
    sight_begin(j->sightings, j->epoch_ms);
    for (unsigned i = 0; i < count; i++) {
        struct judged *item = &items[i];
        if (!item->is_sighting)
            continue;
        item->hash = sight_hash(j->sightings, item->packet.src, addrlen(&item->packet));
        sight_prefetch(j->sightings, item->hash);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct judged *item = &items[i];
        const struct pkt *p = &item->packet;
        if (item->is_sighting && !sight_note(j->sightings, item->hash, p->src, addrlen(p), item->value != 0))
            j->counts.sightings_shed++;
    }
    sight_end(j->sightings);
}
