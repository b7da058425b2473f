/* The UDP loop of the DNS server: datagrams in by recvmmsg, replies out by sendmmsg, what is odd over to Python.
 *
 *   sockets -> dnswire (read) -> shelves (listed?) -> dnswire (reply) -> sockets
 *                             -> asks: a bounded ring, told by an eventfd -> Python -> dnsloop_send
 *
 * One thread runs a loop; others may stop it, publish another view, take what it asks and read its counters meanwhile.
 * A turn allocates nothing. Several loops with SO_REUSEPORT sockets share an endpoint's queries. When the ring is full,
 * Python has more to do than it can: a query gets SERVFAIL, so that its resolver goes elsewhere, and is counted.
 */
#ifndef SC_DNSLOOP_H
#define SC_DNSLOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dnswire.h"

struct dnsloop;
struct rrl;
struct shelf;
struct talkers;

enum {
    DNSLOOP_SOCKETS = 64,        /* of one loop */
    DNSLOOP_SECRETS = 8,
    DNSLOOP_SHELVES = 8,
    DNSLOOP_QUERY_BYTES = 4096,  /* of a datagram; a longer one gets FORMERR */
    DNSLOOP_NAME_BYTES = 28,     /* a sockaddr_in6 */
    DNSLOOP_CONTROL_BYTES = 40,  /* an in6_pktinfo with its header */
};

/* What is published. All borrowed, and must outlive its publication. */
struct dnsview {
    struct dns_zones zones;
    struct shelf *shelves[DNSLOOP_SHELVES]; /* those of the zones */
    unsigned n_shelves;
    _Atomic uint32_t serial;
};

struct dnsloop_settings {
    const int *fds;        /* bound UDP sockets that do not block; stay the caller's */
    unsigned n_fds;
    uint16_t limit_bytes;  /* of a reply, whatever EDNS allows */
    uint32_t asks;         /* that wait for Python at a time, at most */
    struct rrl *rrl;       /* borrowed, like the next: limits and notes what is answered here; NULL: nothing */
    struct talkers *talkers;
};

/* Replies in one zone, by type (A, AAAA, TXT, ANY, others) and rcode (NOERROR, NXDOMAIN). */
enum { DNSLOOP_TYPES = 5, DNSLOOP_RCODES = 2 };
struct dnsloop_zone_counts {
    uint64_t replies[DNSLOOP_TYPES][DNSLOOP_RCODES];
};

/* Names for Python stand in dnsloop_count_names, in this order. */
struct dnsloop_counts {
    uint64_t turns;      /* of the loop, at least one a second while it runs */
    uint64_t batches;
    uint64_t queries;    /* datagrams */
    uint64_t type_a;     /* questions that were read, by type */
    uint64_t type_aaaa;
    uint64_t type_txt;
    uint64_t type_any;
    uint64_t type_other;
    uint64_t answered;   /* replies of ours: with an answer, without one, ... */
    uint64_t nodata;
    uint64_t nxdomain;
    uint64_t refused;
    uint64_t formerr;
    uint64_t cut;        /* of them with TC */
    uint64_t silent;     /* no reply due */
    uint64_t asked;      /* handed to Python */
    uint64_t asks_shed;  /* ring full: SERVFAIL */
    uint64_t oversized;  /* datagrams: FORMERR */
    uint64_t unsent;     /* replies that the kernel did not take */
    uint64_t limited;    /* replies past the rate limit: not sent */
    uint64_t slipped;    /* and sent cut to TC */
};

extern const char *const dnsloop_count_names[];

/* Who asked, and by which of our addresses. */
struct dnsloop_peer {
    _Alignas(8) uint8_t control[DNSLOOP_CONTROL_BYTES];
    uint8_t name[DNSLOOP_NAME_BYTES];
    uint8_t name_size, control_size;
    uint16_t socket;
};

struct dnsloop_ask {
    struct dnsloop_peer peer;
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
int dnsloop_publish(struct dnsloop *l, const struct dnsview *view, struct dnsloop_zone_counts **before);

/* Copy what was counted of the first n zones of the view. */
void dnsloop_zone_counts(struct dnsloop *l, struct dnsloop_zone_counts *out, size_t n);

/* Give cookies by n secrets (dnscookie.h) that follow each other, to DNSLOOP_SECRETS; 0 (as at first): none are given. */
void dnsloop_set_secrets(struct dnsloop *l, const uint8_t *secrets, size_t n);

/* For the one thread that takes asks: readable while there are some; the oldest or NULL, until it is dropped. */
int dnsloop_ask_fd(const struct dnsloop *l);
const struct dnsloop_ask *dnsloop_ask(struct dnsloop *l);
void dnsloop_ask_drop(struct dnsloop *l);

/* Send a reply to a peer of this loop: 0, or -1 with errno. */
int dnsloop_send(const struct dnsloop *l, const struct dnsloop_peer *peer, const uint8_t *reply, size_t size);

/* A peer's address; its size, 0 if it has none. */
unsigned dnsloop_addr(const struct dnsloop_peer *peer, uint8_t addr[16]);

void dnsloop_counts(const struct dnsloop *l, struct dnsloop_counts *out);

#endif
