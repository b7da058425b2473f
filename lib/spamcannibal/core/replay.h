/* What the tarpit would have done with captured packets: the decisions of tarpit.h, counted; nothing is sent.
 *
 * Each packet is decided by itself, as in the packet loop, but for what depends on other packets: slots, bytes of
 * stutter and the bandwidth limit. Only what the firewall would queue is decided: TCP to the given ports, other
 * protocols if the settings say so.
 *
 * Memory is bounded: of at most `sources_max` sources that are listed (shadow listings included) there are figures, the
 * rest is in the totals; time is counted in REPLAY_SPANS spans, which get twice as long whenever they don't suffice.
 */
#ifndef SC_REPLAY_H
#define SC_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "tarpit.h"

struct addrtable;
struct replay;

enum { REPLAY_SPANS = 512, REPLAY_FIRST_SPAN_MS = 1000 };

struct replay_settings {
    struct tp_config config;
    const uint8_t *ports; /* a bit for each of 65536 */
    uint32_t sources_max;
    struct addrtable *listings, *shadows; /* borrowed; not changed meanwhile */
};

struct replay_packet {
    const uint8_t *frame;
    uint64_t time_ms;
    uint32_t size;
};

/* Names for Python stand in replay_count_names, in this order. */
struct replay_counts {
    uint64_t packets;
    uint64_t other;       /* no IP */
    uint64_t cut;         /* end within the headers */
    uint64_t bad;         /* contradict themselves */
    uint64_t elsewhere;   /* not to the ports */
    uint64_t unlisted;
    uint64_t shadowed;    /* pass, of a shadow listing */
    uint64_t excepted;    /* listed and pass: an exception, loopback, another protocol */
    uint64_t observed;    /* listed, let through by the mode */
    uint64_t dropped;
    uint64_t answered;    /* of the dropped */
    uint64_t bytes_in;    /* IP bytes of the dropped */
    uint64_t bytes_out;   /* and of the answers */
    uint64_t connections; /* SYNs of the dropped, without what is sent again */
    uint64_t sources_shed; /* packets of sources past the maximum */
};

enum replay_fate { REPLAY_PASSED, REPLAY_SHADOWED, REPLAY_OBSERVED, REPLAY_DROPPED };

struct replay_source {
    uint8_t addr[16];
    uint8_t addrlen, plen; /* of the listing */
    uint8_t fate;          /* enum replay_fate */
    uint8_t mode;
    uint32_t value; /* of the listing */
    uint32_t last_ports;
    uint64_t packets, connections, answered, bytes_in, bytes_out, first_ms, last_ms;
};

struct replay_span {
    uint64_t passed, shadowed, dropped;
};

extern const char *const replay_count_names[];

/* NULL without memory. The ports are copied. */
struct replay *replay_new(const struct replay_settings *settings);
void replay_free(struct replay *r);

/* Decide packets of a link type that is known (capture.h); -1 without memory. */
int replay_feed(struct replay *r, unsigned link, const struct replay_packet packets[], size_t count);

const struct replay_counts *replay_counts(const struct replay *r);
const uint64_t *replay_events(const struct replay *r); /* TP_EVENTS of them */
const struct replay_source *replay_sources(const struct replay *r, uint32_t *count);
/* The spans up to the last that has something; where they begin and how long each is. */
const struct replay_span *replay_spans(const struct replay *r, uint32_t *count, uint64_t *start_ms, uint64_t *span_ms);

#endif
