/* The packet loop of one kernel queue: messages in by recvmmsg, verdicts out in runs, replies out by sendmmsg.
 *
 *   queue -> nfqwire (parse) -> packet (decode) -> addrtable (listed?) -> tarpit (decide) -> trap (hold, cap)
 *         -> nfqwire (verdicts) -> queue                                -> link (replies)
 *         -> sightings (who was here)  -> drained by Python once a second
 *         -> events (what happened)    -> drained by Python once a second
 *
 * One thread runs a loop, others may stop it, drain it and read its counters meanwhile. A turn allocates nothing.
 * Every packet gets a verdict: what is not understood is ACCEPTed and counted. A verdict speaks for all packets up
 * to its own, so one that the kernel would not take is made up for by the next.
 */
#ifndef SC_NFQLOOP_H
#define SC_NFQLOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "sightings.h"
#include "trap.h"

struct addrtable;
struct nfqloop;

struct nfqloop_settings {
    int fd;                 /* netlink socket that is bound to the queue; stays the caller's */
    uint16_t queue;
    uint32_t copy_bytes;    /* of each packet, as the queue is set */
    uint32_t queue_length;  /* packets for which the socket's buffer has room at least */
    uint32_t sightings;     /* sources noted between two drains, at most */
    struct addrtable *table; /* both borrowed, and must outlive the loop */
    struct trap *trap;
};

/* Names for Python stand in nfqloop_count_names, in this order. */
struct nfqloop_counts {
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

extern const char *const nfqloop_count_names[];

struct nfqloop_event {
    uint64_t time_ms;       /* since the epoch */
    uint8_t src[16], dst[16];
    uint16_t sport, dport;
    uint8_t family;
    uint8_t event;          /* enum tp_event */
    uint8_t mode;           /* enum tp_mode */
};

/* NULL with errno: EPERM without CAP_NET_RAW and CAP_NET_ADMIN. */
struct nfqloop *nfqloop_open(const struct nfqloop_settings *settings);
void nfqloop_close(struct nfqloop *l);

/* 0 after nfqloop_stop; an errno if the queue can't be used any more. */
int nfqloop_run(struct nfqloop *l);
void nfqloop_stop(struct nfqloop *l);

/* For the one thread that drains. */
struct sightings *nfqloop_sightings(struct nfqloop *l);
bool nfqloop_event(struct nfqloop *l, struct nfqloop_event *out); /* the oldest, or false */
void nfqloop_counts(const struct nfqloop *l, struct nfqloop_counts *out);

#endif
