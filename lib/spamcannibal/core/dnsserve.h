/* One query in the loop: from its bytes to its reply, by what is published; with cookies, and counted.
 *
 *   dnsserve_read ... dnsserve_answer      with the view's tables locked by the caller, over both
 *
 * dnswire.h says what is answered; here is what the loop adds: cookies by the peer's address, and the counters. No I/O.
 */
#ifndef SC_DNSSERVE_H
#define SC_DNSSERVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dnscookie.h"
#include "dnspeer.h"
#include "dnswire.h"

struct shelf;

enum {
    DNSSERVE_SHELVES = 8,
    DNSSERVE_SECRETS = 8,
    DNSSERVE_TYPES = 5,
    DNSSERVE_RCODES = 2,
};

/* What is published. All borrowed, and must outlive its publication. */
struct dnsview {
    struct dns_zones zones;
    struct shelf *shelves[DNSSERVE_SHELVES]; /* those of the zones */
    unsigned n_shelves;
    _Atomic uint32_t serial;
};

/* Replies in one zone, by type (A, AAAA, TXT, ANY, others) and rcode (NOERROR, NXDOMAIN). */
struct dnsserve_zone_counts {
    uint64_t replies[DNSSERVE_TYPES][DNSSERVE_RCODES];
};

/* Names for Python stand in dnsserve_count_names, in this order. */
struct dnsserve_counts {
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
    uint64_t joined;     /* replies that left with others to the same peer (dnssend.h) */
};

extern const char *const dnsserve_count_names[];

struct dnsserve {
    const struct dnsview *view; /* NULL: Python is asked everything */
    struct dnsserve_zone_counts *zone_counts; /* as many as the view has zones */
    uint8_t secrets[DNSSERVE_SECRETS][DNSCOOKIE_SECRET_BYTES];
    size_t n_secrets;
    uint16_t limit_bytes; /* of a reply, whatever EDNS allows */
    uint32_t now_s;       /* since the epoch */
    struct dnsserve_counts counts;
};

struct dnsitem {
    struct dnspeer peer;
    uint8_t *data, *reply; /* of the caller; `reply` has room for DNS_REPLY_BYTES */
    size_t size;           /* of the query */
    size_t reply_size;     /* 0: none */
    enum dns_kind kind;
    uint8_t rcode;
    uint8_t addrlen;       /* 0: the peer has none */
    bool is_trusted;       /* brought a cookie of ours */
    uint8_t addr[16];
    struct dns_query query;
};

/* Read the query of `size` bytes that a peer sent, and start fetching what its answer looks up: so the memory accesses
 * of a whole batch overlap. */
void dnsserve_read(struct dnsserve *s, struct dnsitem *i, bool is_cut);

/* Write the reply and count it. False, and a `kind` of DNS_ASK: ask Python. */
bool dnsserve_answer(struct dnsserve *s, struct dnsitem *i);

#endif
