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
 * Pure and freestanding: no libc, no malloc, no globals; every loop is bounded by the name or the zone, every read by
 * the query's size. Its parts: dnsquery (reading), dnsname (names as addresses), dnsrecord (what a reply consists of).
 */
#ifndef SC_DNSWIRE_H
#define SC_DNSWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dnsquery.h"

/* What a reply says, for those who count. */
struct dns_told {
    uint8_t rcode;
    bool has_answer, is_cut;
};

/* The reply's size, at most limit (to DNS_REPLY_BYTES); 0: ask Python. */
size_t dns_reply(const struct dns_query *q, uint32_t serial, size_t limit, uint8_t out[DNS_REPLY_BYTES],
                 struct dns_told *told);

/* Cut the reply to `q` in `out` to its question with TC, for a client that is to ask again over TCP; to BADCOOKIE for
 * one that gets a cookie. Its new size. */
size_t dns_cut(const struct dns_query *q, uint8_t out[DNS_REPLY_BYTES]);

/* The header alone with an rcode, of a query that has at least a header; its size. */
size_t dns_bare(const uint8_t *query, unsigned rcode, uint8_t out[DNS_HEADER_BYTES]);

#endif
