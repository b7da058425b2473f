/* The packet loop of one kernel queue: messages in by recvmmsg, verdicts out in runs, replies out by sendmmsg.
 *
 *   queue -> nfqwire (parse) -> judge: packet (decode) -> addrtable (listed?) -> tarpit (decide) -> trap (hold, cap)
 *         -> nfqwire (verdicts) -> queue
 *         -> link (replies) -> client
 *         -> sightings (who was here), events (what happened) -> drained by Python once a second
 *
 * One thread runs a loop, others may stop it, drain it and read its counters meanwhile. A turn allocates nothing.
 * Every packet gets a verdict: what is not understood is ACCEPTed and counted. A verdict speaks for all packets up
 * to its own, so one that the kernel would not take is made up for by the next.
 */
#ifndef SC_NFQLOOP_H
#define SC_NFQLOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "judge.h"

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

/* NULL with errno: EPERM without CAP_NET_RAW and CAP_NET_ADMIN. */
struct nfqloop *nfqloop_open(const struct nfqloop_settings *settings);
void nfqloop_close(struct nfqloop *l);

/* 0 after nfqloop_stop; an errno if the queue can't be used any more. */
int nfqloop_run(struct nfqloop *l);
void nfqloop_stop(struct nfqloop *l);

/* For the one thread that drains. */
struct judge *nfqloop_judge(struct nfqloop *l);
void nfqloop_counts(const struct nfqloop *l, struct judge_counts *out);

#endif
