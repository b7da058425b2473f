/* A DNS query, read: bytes -> its question, the zone of ours that it is about, the addresses that its name may mean.
 *
 * A query is read where it lies, so its bytes must stay while it is used. Pure and freestanding: every loop is bounded
 * by the message or the zones, every read by the message's size.
 */
#ifndef SC_DNSQUERY_H
#define SC_DNSQUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dnszone.h"

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
    bool has_edns, wants_dnssec;
    uint8_t cookie_size, cookies_size; /* of the option that came, of the reply's (dnscookie.h); 0: none */
    uint8_t cookies[24];
    const uint8_t *cookie;
    uint8_t name_size, n_labels, n_readings;
    uint8_t name[DNS_NAME_BYTES + 7]; /* in lower case */
    uint8_t starts[DNS_NAME_BYTES / 2 + 1]; /* of its labels */
    struct dns_prefix readings[2]; /* one digit is an octet and a nibble */
};

/* Fill in what the bytes ask. DNS_BROKEN: dns_bare is due. */
enum dns_kind dns_read(const uint8_t *data, size_t size, const struct dns_zones *zones, struct dns_query *q);

#endif
