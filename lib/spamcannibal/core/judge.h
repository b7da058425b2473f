/* From queued packets to verdicts, a batch at a time: decode, look up, decide, reply, note. No queue and no netlink
 * here, so a capture can go the same way.
 *
 *   judge_begin     locks the table for reading until judge_batch
 *   judge_decode    what the packet is; its look-up begins, so that the memory accesses of a batch overlap
 *   judge_batch     verdicts; replies are left in the links, events in the ring
 *   judge_note      sources into the sightings; apart, because the verdicts are more urgent
 *
 * The caller owns everything that struct judge points to, sets the times and copies the settings from the trap each
 * turn. One thread judges; another may take events and read counters meanwhile.
 */
#ifndef SC_JUDGE_H
#define SC_JUDGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "link.h"
#include "sightings.h"
#include "trap.h"

struct addrtable;

enum { JUDGE_EVENTS = 4096 }; /* between two drains; a power of two */

/* Names for Python stand in judge_count_names, in this order. */
struct judge_counts {
    uint64_t turns;            /* of the loop, at least one a second while it runs */
    uint64_t batches;
    uint64_t packets;
    uint64_t listed;
    uint64_t accepted;
    uint64_t dropped;
    uint64_t bad;              /* packets: contradicting lengths and the like */
    uint64_t truncated;
    uint64_t fragments;
    uint64_t malformed;        /* netlink messages not understood */
    uint64_t refused;          /* netlink messages of ours that the kernel refused, e.g. for packets gone meanwhile */
    uint64_t unseen;           /* packets that passed because the socket's buffer had no room for them */
    uint64_t verdicts_late;    /* sends of verdicts that had to be made up for */
    uint64_t replies;
    uint64_t replies_failed;
    uint64_t sightings_shed;
    uint64_t events_lost;
};

struct judge_event {
    uint64_t time_ms;       /* since the epoch */
    uint8_t src[16], dst[16];
    uint16_t sport, dport;
    uint8_t family;
    uint8_t event;          /* enum tp_event */
    uint8_t mode;           /* enum tp_mode */
};

struct judge {
    struct addrtable *table;
    struct trap *trap;
    struct links *links;
    struct sightings *sightings;
    struct tp_config config;
    uint64_t epoch_ms; /* what is noted and told is stamped with it */
    uint64_t clock_ms; /* monotonic, for the trap */
    struct judge_counts counts;
    _Atomic uint64_t events_in, events_out;
    struct judge_event events[JUDGE_EVENTS];
};

/* One packet of a batch. The caller sets peer, is given the rest. */
struct judged {
    struct link_addr peer;
    struct pkt packet;
    uint32_t value; /* of the source in the table, 0: not listed */
    uint32_t hash;
    bool is_sighting;
    bool is_dropped; /* the verdict */
};

extern const char *const judge_count_names[];

void judge_begin(struct judge *j);
void judge_decode(struct judge *j, struct judged *item, const uint8_t *data, size_t caplen);
void judge_batch(struct judge *j, struct judged items[], unsigned count);
void judge_note(struct judge *j, struct judged items[], unsigned count);
void judge_reply(struct judge *j, const struct link_addr *peer, const struct reply *reply);

/* The oldest event that was not taken yet, or false. */
bool judge_event(struct judge *j, struct judge_event *out);

#endif
