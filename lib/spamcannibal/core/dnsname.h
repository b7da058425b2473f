/* A name of a blocklist zone as addresses, the test points among them (RFC 5782), and addresses as text. Freestanding.
 *
 *   2.0.0.127.<zone>        up to four octets, the last first: IPv4, or with fewer a prefix of it
 *   b.a.9.8. ... .<zone>    up to 32 nibbles likewise: IPv6; what is IPv4 inside (::ffff:0:0/96) means that
 */
#ifndef SC_DNSNAME_H
#define SC_DNSNAME_H

#include <stdbool.h>
#include <stdint.h>

#include "dnsquery.h"

enum { DNS_ADDRESS_BYTES = 40 }; /* of an address as text */

/* A host that always is listed, or never; IPv4. */
enum dns_point { DNS_NO_POINT, DNS_POINT_LISTED, DNS_POINT_CLEAR };

/* Fill in the readings of a query that has a zone. */
void dns_read_addresses(struct dns_query *q);

static inline bool dns_is_host(const struct dns_prefix *p) { return p->plen == 8 * p->addrlen; }

enum dns_point dns_test_point(const struct dns_prefix *host);
/* Whether the test point that is listed lies below a prefix. */
bool dns_holds_test_point(const struct dns_prefix *p);

/* The text of an address (RFC 5952); its length. */
unsigned dns_format_addr(const struct dns_prefix *p, uint8_t out[DNS_ADDRESS_BYTES]);

#endif
