/* DNS queries about addresses to replies, from zones that dnsbl/zone.py compiled: dnsbl/answer.py in C, byte for byte.
 *
 *   dns_read    bytes -> query: whose zone, which address      then dns_reply, or silence, or ask Python
 *   dns_reply   query -> the reply's bytes                      or 0: ask Python
 *
 * Answered here: a question of class IN with no more than a plain OPT (version 0) beside it, for any name, in our zones
 * or not, and FORMERR for one that can't be read. To Python goes what is rare or odd: other operations and classes,
 * transfers and other meta types, more records, other EDNS versions, zones that not everybody may ask, and TXT of a
 * listing with a text of its own.
 *
 * Pure and freestanding: no libc, no malloc, no globals; every loop is bounded by the name or the zone, every read by the
 * query's size. What is published is asked by two functions, so that the caller owns tables and locks.
 */
#ifndef SC_DNSWIRE_H
#define SC_DNSWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DNS_HEADER_BYTES = 12,
    DNS_NAME_BYTES = 255,
    DNS_CLASSIC_BYTES = 512,   /* of a reply without EDNS */
    DNS_REPLY_BYTES = 4096,    /* room that a reply needs; no limit is above it */
    DNS_TEXT_BYTES = 2000,     /* TEXT_LIMIT of zone.py */
    DNS_POINTERS = 4,          /* in one record: an SOA has three */
};

/* Bits of a table value: `state` of record.py. */
enum { DNS_PUBLISHED = 0x10, DNS_EXCLUDED = 0x20, DNS_SHADOW = 0x40, DNS_OWN_TEXT = 0x80 };

enum { DNS_A = 1, DNS_NS = 2, DNS_TXT = 16, DNS_AAAA = 28, DNS_OPT = 41, DNS_META_FIRST = 249, DNS_ANY = 255 };
enum { DNS_COOKIE = 10 }; /* an EDNS option */
enum { DNS_NOERROR = 0, DNS_FORMERR = 1, DNS_SERVFAIL = 2, DNS_NXDOMAIN = 3, DNS_REFUSED = 5 };

/* One record as it goes on the wire, but for pointers to the zone's name and an SOA's serial: Template of zone.py. */
struct dns_record {
    const uint8_t *data;
    uint16_t size;
    uint8_t n_pointers;
    bool has_serial;
    uint16_t pointers[DNS_POINTERS];
};

struct dns_rrset {
    uint16_t type, n_records;
    const struct dns_record *records;
};

/* A static name by its labels before the zone's; the apex has none. ANY gets the first of its sets. */
struct dns_node {
    const uint8_t *name;
    uint8_t size;
    uint16_t n_sets;
    const struct dns_rrset *sets;
};

/* What a kind of zone shows. match: value of the longest entry that covers an address, or 0. */
struct dns_listings {
    const void *shelf;
    uint32_t (*match)(const void *shelf, const uint8_t *addr, unsigned addrlen);
    bool (*has_below)(const void *shelf, const uint8_t *addr, unsigned addrlen, unsigned plen);
};

struct dns_zone {
    const uint8_t *name; /* in lower case, with its root */
    uint8_t size, n_labels;
    bool promiscuous;
    bool is_guarded; /* Python decides who may ask */
    uint32_t code;   /* of all that is listed; 0: the entry decides */
    uint32_t ttl_s;
    const uint8_t *text;
    size_t text_size;
    struct dns_record negative;
    uint16_t n_nodes, n_glue;
    const struct dns_node *nodes;
    const struct dns_record *glue;
    struct dns_listings listings;
};

/* Those with the most labels first. */
struct dns_zones {
    const struct dns_zone *zones;
    size_t n;
};

struct dns_prefix {
    uint8_t addr[16];
    uint8_t addrlen, plen;
};

enum dns_kind { DNS_QUERY, DNS_SILENCE, DNS_BROKEN, DNS_ASK };

struct dns_query {
    const uint8_t *data; /* the caller's bytes */
    const struct dns_zone *zone; /* NULL: not ours */
    uint16_t qtype, question_size;
    uint16_t payload_bytes; /* that EDNS allows */
    bool has_edns;
    uint8_t cookie_size, cookies_size; /* of the option that came, of the one that the reply gets (dnscookie.h); 0: none */
    uint8_t cookies[24];
    const uint8_t *cookie;
    uint8_t name_size, n_labels, n_readings;
    uint8_t name[DNS_NAME_BYTES + 7]; /* in lower case */
    uint8_t starts[DNS_NAME_BYTES / 2 + 1]; /* of its labels */
    struct dns_prefix readings[2]; /* one digit is an octet and a nibble */
};

/* What a reply says, for those who count. */
struct dns_told {
    uint8_t rcode;
    bool has_answer, is_cut;
};

/* Fill in what the bytes ask. DNS_BROKEN: dns_bare is due. */
enum dns_kind dns_read(const uint8_t *data, size_t size, const struct dns_zones *zones, struct dns_query *q);

/* The reply's size, at most limit (to DNS_REPLY_BYTES); 0: ask Python. */
size_t dns_reply(const struct dns_query *q, uint32_t serial, size_t limit, uint8_t out[DNS_REPLY_BYTES],
                 struct dns_told *told);

/* Cut the reply to `q` in `out` to its question with TC, for a client that is to ask again over TCP; to BADCOOKIE for one
 * that gets a cookie. Its new size. */
size_t dns_cut(const struct dns_query *q, uint8_t out[DNS_REPLY_BYTES]);

/* The header alone with an rcode, of a query that has at least a header; its size. */
size_t dns_bare(const uint8_t *query, unsigned rcode, uint8_t out[DNS_HEADER_BYTES]);

#endif
