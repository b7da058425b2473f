/* Records of a reply as it grows: templates of the zone, those of a listed address, the OPT. Freestanding. */
#ifndef SC_DNSRECORD_H
#define SC_DNSRECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dnsquery.h"

enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL };

/* A reply to a query: `at` is its end, `end` that of the room for records, which an OPT may follow; `out` has room for
 * DNS_REPLY_BYTES. */
struct dns_draft {
    const struct dns_query *q;
    uint8_t *out;
    size_t at, end;
    uint32_t serial;
    uint16_t counts[3];
    bool is_cut;
};

/* False if it does not fit, and nothing after it may follow. An answer's owner is the name that was asked for. */
bool dns_add_record(struct dns_draft *r, enum dns_section section, const struct dns_record *record);

/* The answer code of a listed address. */
void dns_add_a(struct dns_draft *r, uint32_t code);

/* The zone's text with `$` as the address and `$$` as a dollar sign, cut to the limit. */
void dns_add_text(struct dns_draft *r, const struct dns_prefix *p);

/* The OPT that answers one, with the cookie if there is one; its size, 0 if none is due. */
void dns_add_opt(struct dns_draft *r);
size_t dns_opt_size(const struct dns_query *q);

#endif
