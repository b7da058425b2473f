/* See dnswire.h: what is found for a query, then the reply around it. */
#include "dnswire.h"

#include "dnsbytes.h"
#include "dnsname.h"
#include "dnsrecord.h"

enum {
    BADCOOKIE = 23,
    PROVEN = 0x7f000002,
};

/* The answer code of a table value, 0 if the zone does not show the entry: code_of of zone.py. */
static uint32_t answer_code(const struct dns_zone *zone, uint32_t value)
{
    uint32_t code = value >> 8;

    if (!value || zone->code)
        return value ? zone->code : 0;
    if (value & DNS_EXCLUDED)
        return 0;
    if (value & DNS_PUBLISHED)
        return PROVEN;
    if (!zone->promiscuous)
        return 0;
    return 0x7f000000 | (code >= 3 && code < 0xffff00 ? code : 3);
}

/* The table value of a listed address with its answer code; 0 if the zone does not list it. */
static uint32_t listed(const struct dns_query *q, const struct dns_prefix *p, uint32_t *code)
{
    const struct dns_listings *l = &q->zone->listings;
    enum dns_point point = dns_test_point(p);

    if (point == DNS_POINT_LISTED) {
        *code = q->zone->code ? q->zone->code : PROVEN;
        return DNS_PUBLISHED;
    }
    if (point == DNS_POINT_CLEAR)
        return 0;
    uint32_t value = l->match(l->shelf, p->addr, p->addrlen);
    *code = answer_code(q->zone, value);
    return *code ? value : 0;
}

/* False: ask Python. */
static bool add_listing(struct dns_draft *r, const struct dns_prefix *p, uint32_t value, uint32_t code)
{
    if (r->q->qtype == DNS_A || r->q->qtype == DNS_ANY)
        dns_add_a(r, code);
    else if (r->q->qtype == DNS_TXT && value & DNS_OWN_TEXT)
        return false;
    else if (r->q->qtype == DNS_TXT)
        dns_add_text(r, p);
    return true;
}

static void add_node(struct dns_draft *r, const struct dns_node *node)
{
    const struct dns_zone *z = r->q->zone;
    const struct dns_rrset *set = NULL;
    bool fits = true;

    for (unsigned i = 0; i < node->n_sets && !set; i++)
        if (r->q->qtype == node->sets[i].type || r->q->qtype == DNS_ANY)
            set = &node->sets[i];
    for (unsigned i = 0; set && fits && i < set->n_records; i++)
        fits = dns_add_record(r, DNS_ANSWER, &set->records[i]);
    for (unsigned i = 0; set && set->type == DNS_NS && fits && i < z->n_glue; i++)
        fits = dns_add_record(r, DNS_ADDITIONAL, &z->glue[i]);
}

static const struct dns_node *find_node(const struct dns_query *q)
{
    unsigned size = q->name_size - q->zone->size;

    for (unsigned i = 0; i < q->zone->n_nodes; i++) {
        const struct dns_node *node = &q->zone->nodes[i];
        if (node->size == size && same(node->name, q->name, size))
            return node;
    }
    return NULL;
}

/* Fill in what the zone holds for the name: NOERROR, NXDOMAIN, or -1 to ask Python. */
static int find(struct dns_draft *r)
{
    const struct dns_query *q = r->q;
    const struct dns_node *node = q->n_readings ? NULL : find_node(q); /* no static name reads as an address */
    bool exists = node != NULL;

    if (node)
        add_node(r, node);
    for (unsigned i = 0; i < q->n_readings; i++) {
        const struct dns_prefix *p = &q->readings[i];
        const struct dns_listings *l = &q->zone->listings;
        uint32_t code;

        if (!dns_is_host(p)) {
            exists = exists || dns_holds_test_point(p) || l->has_below(l->shelf, p->addr, p->addrlen, p->plen);
            continue;
        }
        uint32_t value = listed(q, p, &code);
        if (value)
            return add_listing(r, p, value, code) ? DNS_NOERROR : -1;
    }
    return exists ? DNS_NOERROR : DNS_NXDOMAIN;
}

static size_t room_for(const struct dns_query *q, size_t limit)
{
    size_t asked = q->has_edns ? q->payload_bytes : DNS_CLASSIC_BYTES;

    limit = limit < DNS_REPLY_BYTES ? limit : DNS_REPLY_BYTES;
    asked = asked < limit ? asked : limit;
    return asked > DNS_CLASSIC_BYTES ? asked : DNS_CLASSIC_BYTES;
}

size_t dns_reply(const struct dns_query *q, uint32_t serial, size_t limit, uint8_t out[DNS_REPLY_BYTES],
                 struct dns_told *told)
{
    struct dns_draft r = {.q = q, .out = out, .at = DNS_HEADER_BYTES + q->question_size, .serial = serial};
    int rcode = DNS_REFUSED;

    r.end = room_for(q, limit) - dns_opt_size(q);
    if (q->zone) {
        rcode = find(&r);
        if (rcode < 0)
            return 0;
        if (r.counts[DNS_ANSWER] == 0 && !r.is_cut)
            dns_add_record(&r, DNS_AUTHORITY, &q->zone->negative);
    }
    unsigned flags = QR | (get16(q->data + 2) & (RD | CD)) | (q->zone ? AA : 0) | (r.is_cut ? TC : 0);
    __builtin_memcpy(out, q->data, DNS_HEADER_BYTES + q->question_size);
    put16(out + 2, flags | (unsigned)rcode);
    put16(out + 6, r.counts[DNS_ANSWER]);
    put16(out + 8, r.counts[DNS_AUTHORITY]);
    put16(out + 10, r.counts[DNS_ADDITIONAL] + q->has_edns);
    if (q->has_edns)
        dns_add_opt(&r);
    *told = (struct dns_told){.rcode = (uint8_t)rcode, .has_answer = r.counts[DNS_ANSWER] > 0, .is_cut = r.is_cut};
    return r.at;
}

size_t dns_cut(const struct dns_query *q, uint8_t out[DNS_REPLY_BYTES])
{
    struct dns_draft r = {.q = q, .out = out, .at = DNS_HEADER_BYTES + q->question_size};

    put16(out + 2, QR | (q->cookies_size ? BADCOOKIE & 15 : TC) | (get16(q->data + 2) & (RD | CD)));
    put16(out + 6, 0);
    put16(out + 8, 0);
    put16(out + 10, q->has_edns);
    if (q->has_edns)
        dns_add_opt(&r);
    if (q->cookies_size)
        out[DNS_HEADER_BYTES + q->question_size + 5] = BADCOOKIE >> 4;
    return r.at;
}

size_t dns_bare(const uint8_t *query, unsigned rcode, uint8_t out[DNS_HEADER_BYTES])
{
    __builtin_memset(out, 0, DNS_HEADER_BYTES);
    __builtin_memcpy(out, query, 2);
    put16(out + 2, QR | (get16(query + 2) & (OPCODE | RD | CD)) | rcode);
    return DNS_HEADER_BYTES;
}
