/* See replay.h. */
#include "replay.h"

#include <stdlib.h>
#include <string.h>

#include "addrtable.h"
#include "capture.h"

enum { BATCH = 64, PORTS_BYTES = 65536 / 8 };

struct replay {
    struct tp_config config;
    struct addrtable *listings, *shadows;
    struct addrtable *places; /* address -> place in sources, from 1 */
    struct replay_source *sources;
    uint32_t n_sources, sources_room, sources_max;
    struct replay_counts counts;
    uint64_t events[TP_EVENTS];
    uint64_t start_ms, span_ms;
    uint32_t n_spans;
    struct replay_span spans[REPLAY_SPANS];
    uint8_t ports[PORTS_BYTES];
};

const char *const replay_count_names[] = {
    "packets", "other", "cut", "bad", "elsewhere", "unlisted", "shadowed", "excepted", "observed", "dropped",
    "answered", "bytes_in", "bytes_out", "connections", "sources_shed", NULL,
};
_Static_assert(sizeof replay_count_names / sizeof(char *) == sizeof(struct replay_counts) / sizeof(uint64_t) + 1,
               "a name for every counter");

struct replay *replay_new(const struct replay_settings *settings)
{
    struct replay *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->config = settings->config;
    r->listings = settings->listings;
    r->shadows = settings->shadows;
    r->sources_max = settings->sources_max;
    r->span_ms = REPLAY_FIRST_SPAN_MS;
    memcpy(r->ports, settings->ports, sizeof r->ports);
    r->places = at_new();
    if (r->places)
        return r;
    replay_free(r);
    return NULL;
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    if (r->places)
        at_free(r->places);
    free(r->sources);
    free(r);
}

/* ---- Figures ---- */

/* The span of a time; what lies before the first packet counts in the first span. */
static struct replay_span *span_at(struct replay *r, uint64_t time_ms)
{
    if (r->n_spans == 0) {
        r->start_ms = time_ms;
        r->n_spans = 1;
    }
    const uint64_t passed_ms = time_ms > r->start_ms ? time_ms - r->start_ms : 0;

    while (passed_ms / r->span_ms >= REPLAY_SPANS) {
        for (unsigned i = 0; i < REPLAY_SPANS / 2; i++) {
            const struct replay_span *a = &r->spans[2 * i], *b = a + 1;
            r->spans[i] = (struct replay_span){a->passed + b->passed, a->shadowed + b->shadowed,
                                               a->dropped + b->dropped};
        }
        memset(&r->spans[REPLAY_SPANS / 2], 0, sizeof r->spans / 2);
        r->n_spans = (r->n_spans + 1) / 2;
        r->span_ms *= 2;
    }
    const uint32_t at = (uint32_t)(passed_ms / r->span_ms);

    if (at >= r->n_spans)
        r->n_spans = at + 1;
    return &r->spans[at];
}

static bool make_room(struct replay *r)
{
    if (r->n_sources < r->sources_room)
        return true;
    const uint32_t room = r->sources_room ? r->sources_room * 2 : 256;
    struct replay_source *more = realloc(r->sources, room * sizeof *more);

    if (!more)
        return false;
    r->sources = more;
    r->sources_room = room;
    return true;
}

/* A source's figures, new ones if need be; NULL past the maximum (*failed stays) or without memory. */
static struct replay_source *source_of(struct replay *r, const struct pkt *p, uint64_t time_ms, bool *failed)
{
    const unsigned addrlen = p->family == 4 ? 4 : 16;
    const uint32_t place = at_lookup(r->places, p->src, addrlen, NULL);

    if (place)
        return &r->sources[place - 1];
    if (r->n_sources == r->sources_max)
        return NULL;
    *failed = !make_room(r) || at_set(r->places, p->src, addrlen, 8 * addrlen, r->n_sources + 1) < 0;
    if (*failed)
        return NULL;
    struct replay_source *s = &r->sources[r->n_sources++];

    *s = (struct replay_source){.addrlen = (uint8_t)addrlen, .first_ms = time_ms, .last_ms = time_ms};
    memcpy(s->addr, p->src, sizeof s->addr);
    return s;
}

/* ---- One packet ---- */

struct item {
    struct pkt packet;
    uint64_t time_ms;
};

static bool has_port(const struct replay *r, uint16_t port) { return r->ports[port >> 3] >> (port & 7) & 1; }

/* Whether the firewall would queue it; a fragment is put together there before it is looked at. */
static bool is_queued(const struct replay *r, const struct pkt *p)
{
    if (p->kind == PKT_TCP)
        return has_port(r, p->dport);
    return pkt_may_be_tcp(p) || r->config.other_protocols;
}

static enum replay_fate count_decision(struct replay *r, const struct decision *d)
{
    r->events[d->event]++;
    if (d->verdict == TP_DROP) {
        r->counts.dropped++;
        return REPLAY_DROPPED;
    }
    if (d->event == TP_OBSERVED) {
        r->counts.observed++;
        return REPLAY_OBSERVED;
    }
    r->counts.excepted++;
    return REPLAY_PASSED;
}

static void count_drop(struct replay *r, struct replay_source *s, const struct pkt *p, const struct decision *d)
{
    struct replay_source unknown = {0};
    const uint32_t ports = (uint32_t)p->sport << 16 | p->dport;
    const uint64_t out = d->has_reply ? pkt_reply_len(&d->reply) : 0;
    const bool is_syn = p->kind == PKT_TCP && (p->flags & (PKT_SYN | PKT_ACK | PKT_RST | PKT_FIN)) == PKT_SYN;

    s = s ? s : &unknown;
    if (is_syn && ports != s->last_ports) {
        s->last_ports = ports;
        s->connections++;
        r->counts.connections++;
    }
    s->answered += d->has_reply;
    s->bytes_in += p->total_len;
    s->bytes_out += out;
    r->counts.answered += d->has_reply;
    r->counts.bytes_in += p->total_len;
    r->counts.bytes_out += out;
}

/* A packet that was not decided but that somebody may want to know of: its SYNs count as connections. */
static void count_shadow(struct replay_source *s, const struct pkt *p)
{
    const uint32_t ports = (uint32_t)p->sport << 16 | p->dport;

    s->bytes_in += p->total_len;
    if (p->kind == PKT_TCP && (p->flags & (PKT_SYN | PKT_ACK)) == PKT_SYN && ports != s->last_ports) {
        s->last_ports = ports;
        s->connections++;
    }
}

static int decide(struct replay *r, const struct item *item)
{
    const struct pkt *p = &item->packet;
    const unsigned addrlen = p->family == 4 ? 4 : 16;
    struct replay_span *span = span_at(r, item->time_ms);
    enum replay_fate fate = REPLAY_SHADOWED;
    struct decision d = {0};
    bool failed = false;
    unsigned plen = 0;
    uint32_t value = at_lookup(r->listings, p->src, addrlen, &plen);

    if (value) {
        tp_decide(p, value, &r->config, &d);
        fate = count_decision(r, &d);
    } else if ((value = at_lookup(r->shadows, p->src, addrlen, &plen))) {
        r->counts.shadowed++;
    } else {
        r->counts.unlisted++;
        span->passed++;
        return 0;
    }
    *(fate == REPLAY_DROPPED ? &span->dropped : fate == REPLAY_SHADOWED ? &span->shadowed : &span->passed) += 1;
    struct replay_source *s = source_of(r, p, item->time_ms, &failed);

    if (fate == REPLAY_DROPPED)
        count_drop(r, s, p, &d);
    else if (s)
        count_shadow(s, p);
    if (!s) {
        r->counts.sources_shed++;
        return failed ? -1 : 0;
    }
    s->packets++;
    s->fate = fate > s->fate ? (uint8_t)fate : s->fate;
    s->mode = d.mode;
    s->plen = (uint8_t)plen;
    s->value = value;
    s->first_ms = item->time_ms < s->first_ms ? item->time_ms : s->first_ms;
    s->last_ms = item->time_ms > s->last_ms ? item->time_ms : s->last_ms;
    return 0;
}

/* Read a frame as far as it concerns us; its look-ups begin, so that the memory accesses of a batch overlap. */
static bool read_frame(struct replay *r, unsigned link, const struct replay_packet *in, struct item *out)
{
    const uint8_t *ip = NULL;
    size_t size = 0;
    const enum capture_kind kind = capture_strip(link, in->frame, in->size, &ip, &size);

    r->counts.packets++;
    r->counts.other += kind == CAPTURE_OTHER;
    r->counts.cut += kind == CAPTURE_CUT;
    if (kind != CAPTURE_IP)
        return false;
    pkt_decode(ip, size, false, &out->packet);
    const struct pkt *p = &out->packet;

    if (p->family == 0 || p->kind == PKT_BAD) {
        *(p->kind == PKT_BAD ? &r->counts.bad : &r->counts.cut) += 1;
        return false;
    }
    if (!is_queued(r, p)) {
        r->counts.elsewhere++;
        return false;
    }
    out->time_ms = in->time_ms;
    at_prefetch(r->listings, p->src, p->family == 4 ? 4 : 16);
    at_prefetch(r->shadows, p->src, p->family == 4 ? 4 : 16);
    return true;
}

int replay_feed(struct replay *r, unsigned link, const struct replay_packet packets[], size_t count)
{
    struct item items[BATCH];
    int result = 0;

    at_rdlock(r->listings);
    at_rdlock(r->shadows);
    for (size_t at = 0; at < count && result == 0;) {
        unsigned n = 0;

        for (; at < count && n < BATCH; at++)
            n += read_frame(r, link, &packets[at], &items[n]);
        for (unsigned i = 0; i < n && result == 0; i++)
            result = decide(r, &items[i]);
    }
    at_rdunlock(r->shadows);
    at_rdunlock(r->listings);
    return result;
}

/* ---- Results ---- */

const struct replay_counts *replay_counts(const struct replay *r) { return &r->counts; }

const uint64_t *replay_events(const struct replay *r) { return r->events; }

const struct replay_source *replay_sources(const struct replay *r, uint32_t *count)
{
    *count = r->n_sources;
    return r->sources;
}

const struct replay_span *replay_spans(const struct replay *r, uint32_t *count, uint64_t *start_ms, uint64_t *span_ms)
{
    *count = r->n_spans;
    *start_ms = r->start_ms;
    *span_ms = r->span_ms;
    return r->spans;
}
