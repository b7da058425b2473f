/* The UDP loop of the DNS server: datagrams in by recvmmsg, replies out by sendmmsg, what is odd over to Python.
 *
 *   sockets -> dnspeer (who) -> dnsserve (dnswire, shelves, cookies) -> rrl (may it go?) -> dnssend -> sockets
 *                            -> asks: a bounded ring, told by an eventfd -> Python -> dnsloop_send
 *
 * One thread runs a loop; others may stop it, publish another view, take what it asks and read its counters meanwhile.
 * A turn allocates nothing. Several loops with SO_REUSEPORT sockets share an endpoint's queries. When the ring is full,
 * Python has more to do than it can: a query gets SERVFAIL, so that its resolver goes elsewhere, and is counted.
 *
 * Nearly nine tenths of a query's time are the kernel's, five sixths of those in sending: so dnssend. Measured beside
 * it (t/bench/bench_dnsbl.py) and left out, the difference being below 2 %: batches of 16 to 192, larger send buffers,
 * UDP_GRO and SO_BUSY_POLL on loopback and veth (both need the driver of a card), -O3, -flto, a pass of its own for
 * prefetching. Huge pages for the tables give 2 % at 1 M entries and an eighth of a look-up at 10 M, for stalls while
 * the kernel makes them. Not measured, for want of a card with several queues: SO_ATTACH_REUSEPORT_CBPF by CPU.
 */
#ifndef SC_DNSLOOP_H
#define SC_DNSLOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dnspeer.h"
#include "dnsserve.h"

struct dnsloop;
struct rrl;
struct talkers;

enum {
    DNSLOOP_SOCKETS = 64,       /* of one loop */
    DNSLOOP_QUERY_BYTES = 4096, /* of a datagram; a longer one gets FORMERR */
};

struct dnsloop_settings {
    const int *fds;        /* bound UDP sockets that do not block; stay the caller's */
    unsigned n_fds;
    uint16_t limit_bytes;  /* of a reply, whatever EDNS allows */
    uint32_t asks;         /* that wait for Python at a time, at most */
    struct rrl *rrl;       /* borrowed, like the next: limits and notes what is answered here; NULL: nothing */
    struct talkers *talkers;
};

struct dnsloop_ask {
    struct dnspeer peer;
    uint16_t size;
    uint8_t query[DNSLOOP_QUERY_BYTES];
};

/* NULL with errno. */
struct dnsloop *dnsloop_open(const struct dnsloop_settings *settings);
void dnsloop_close(struct dnsloop *l);

/* 0 after dnsloop_stop; an errno if a socket can't be used any more. */
int dnsloop_run(struct dnsloop *l);
void dnsloop_stop(struct dnsloop *l);

/* Answer from another view; NULL (as at first) asks Python everything. The one before is free afterwards, and what was
 * counted of its zones is in *before (NULL: nothing), for the caller to free. 0, or -1 without memory. */
int dnsloop_publish(struct dnsloop *l, const struct dnsview *view, struct dnsserve_zone_counts **before);

/* Copy what was counted of the first n zones of the view. */
void dnsloop_zone_counts(struct dnsloop *l, struct dnsserve_zone_counts *out, size_t n);

/* Give cookies by n secrets (dnscookie.h) that follow each other, to DNSSERVE_SECRETS; 0 (as at first): none. */
void dnsloop_set_secrets(struct dnsloop *l, const uint8_t *secrets, size_t n);

/* For the one thread that takes asks: readable while there are some; the oldest or NULL, until it is dropped. */
int dnsloop_ask_fd(const struct dnsloop *l);
const struct dnsloop_ask *dnsloop_ask(struct dnsloop *l);
void dnsloop_ask_drop(struct dnsloop *l);

/* Send a reply to a peer of this loop: 0, or -1 with errno. */
int dnsloop_send(const struct dnsloop *l, const struct dnspeer *peer, const uint8_t *reply, size_t size);

void dnsloop_counts(const struct dnsloop *l, struct dnsserve_counts *out);

#endif
