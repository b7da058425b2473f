/* DNS zones as dnsbl/zone.py compiles them: what the fast path answers from. Data only, freestanding.
 *
 * What is published is asked by two functions, so that the caller owns tables and locks.
 */
#ifndef SC_DNSZONE_H
#define SC_DNSZONE_H

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
enum { DNS_DO = 0x8000 }; /* a flag of EDNS, copied into the reply (RFC 3225) */
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

#endif
