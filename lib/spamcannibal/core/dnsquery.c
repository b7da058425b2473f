/* See dnsquery.h. */
#include "dnsquery.h"

#include "dnsbytes.h"
#include "dnsname.h"

enum {
    LABEL_BYTES = 63,
    OPT_BYTES = 11,
    CLIENT_COOKIE = 8,
    ADDITIONAL_LIMIT = 8,
};

/* Copy a name in lower case, eight bytes at a time; a length is no letter. `to` has room for seven more. */
static void copy_lower(uint8_t *to, const uint8_t *from, unsigned size)
{
    const uint64_t ones = 0x0101010101010101u;

    __builtin_memcpy(to, from, size);
    for (unsigned i = 0; i < size; i += 8) {
        uint64_t x;

        __builtin_memcpy(&x, to + i, 8);
        uint64_t low = x & 0x7f * ones; /* so that a sum stays in its byte, with its top bit as the comparison */
        uint64_t is_upper = (low + (0x80 - 'A') * ones) & ~(low + (0x7f - 'Z') * ones) & ~x & 0x80 * ones;
        x |= is_upper >> 2;
        __builtin_memcpy(to + i, &x, 8);
    }
}

/* The size of the name after the header, with its root; 0 if it is none, or has a pointer. */
static unsigned read_name(const uint8_t *data, size_t size, struct dns_query *q)
{
    size_t at = DNS_HEADER_BYTES;
    size_t limit = size < at + DNS_NAME_BYTES ? size : at + DNS_NAME_BYTES;

    q->n_labels = 0;
    while (at < limit) {
        unsigned len = data[at], start = (unsigned)at - DNS_HEADER_BYTES;

        if (len == 0) {
            copy_lower(q->name, data + DNS_HEADER_BYTES, start + 1);
            return start + 1;
        }
        if (len > LABEL_BYTES || at + 1 + len > limit)
            return 0;
        q->starts[q->n_labels++] = (uint8_t)start;
        at += 1 + len;
    }
    return 0;
}

/* One of a length that a cookie can have (RFC 7873, 5.2.2). It may reach past the end, which is found out then. */
static bool note_cookie(const uint8_t *data, size_t size, struct dns_query *q)
{
    if (size != CLIENT_COOKIE && (size < CLIENT_COOKIE + 8 || size > CLIENT_COOKIE + 32))
        return false;
    q->cookie = data;
    q->cookie_size = (uint8_t)size;
    return true;
}

/* Whether one record, and it an OPT of version 0, starts at the bytes. */
static bool read_opt(const uint8_t *data, size_t size, struct dns_query *q)
{
    if (size < OPT_BYTES || data[0] != 0 || get16(data + 1) != DNS_OPT || data[6] != 0)
        return false;
    size_t at = OPT_BYTES, end = at + get16(data + 9);
    if (end > size)
        return false;
    for (; at + 4 <= end; at += 4 + (size_t)get16(data + at + 2)) /* options; of what they say only a cookie counts */
        if (get16(data + at) == DNS_COOKIE && !q->cookie_size && !note_cookie(data + at + 4, get16(data + at + 2), q))
            return false;
    q->payload_bytes = get16(data + 3);
    q->wants_dnssec = data[7] & DNS_DO >> 8;
    return at == end;
}

static const struct dns_zone *find_zone(const struct dns_query *q, const struct dns_zones *zones)
{
    for (size_t i = 0; i < zones->n; i++) {
        const struct dns_zone *z = &zones->zones[i];

        if (q->n_labels < z->n_labels)
            continue;
        unsigned start = q->starts[q->n_labels - z->n_labels];
        if (q->name_size - start == z->size && same(q->name + start, z->name, z->size))
            return z;
    }
    return NULL;
}

enum dns_kind dns_read(const uint8_t *data, size_t size, const struct dns_zones *zones, struct dns_query *q)
{
    if (size < DNS_HEADER_BYTES || data[2] & QR >> 8)
        return DNS_SILENCE;
    if (get16(data + 2) & OPCODE)
        return DNS_ASK;
    unsigned authority = get16(data + 8), additional = get16(data + 10);
    if (get16(data + 4) == 0 && additional > 0)
        return DNS_ASK; /* for a cookie */
    if (get16(data + 4) != 1 || get16(data + 6) != 0 || authority > 1 || additional > ADDITIONAL_LIMIT)
        return DNS_BROKEN;
    unsigned name_size = read_name(data, size, q);
    size_t end = DNS_HEADER_BYTES + name_size + 4;
    if (name_size == 0 || end > size)
        return DNS_BROKEN;
    q->data = data;
    q->name_size = (uint8_t)name_size;
    q->question_size = (uint16_t)(name_size + 4);
    q->qtype = get16(data + end - 4);
    q->has_edns = additional == 1;
    q->n_readings = 0;
    q->cookie_size = q->cookies_size = 0;
    q->zone = NULL;
    if (authority || additional > 1 || (additional && !read_opt(data + end, size - end, q)))
        return DNS_ASK;
    if (get16(data + end - 2) != IN || q->qtype == DNS_OPT || (q->qtype >= DNS_META_FIRST && q->qtype < DNS_ANY))
        return DNS_ASK;
    q->zone = find_zone(q, zones);
    if (q->zone && q->zone->is_guarded)
        return DNS_ASK;
    if (q->zone)
        dns_read_addresses(q);
    return DNS_QUERY;
}
