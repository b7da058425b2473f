/* See dnswire.h. In the order of understanding: reading a query, its name as addresses, records, what is found. */
#include "dnswire.h"

enum {
    LABEL_BYTES = 63,
    MAPPED_BITS = 96,           /* of ::ffff:0:0/96 */
    STRING_BYTES = 255,         /* of one character-string in a TXT */
    SERIAL_AT_END = 20,         /* the serial starts the last twenty bytes of an SOA */
    OPT_BYTES = 11,
    CLIENT_COOKIE = 8,
    BADCOOKIE = 23,
    PAYLOAD_BYTES = 1232,       /* what our OPT says: fits every path unfragmented (dnsflagday.net/2020) */
    ADDITIONAL_LIMIT = 8,
    ADDRESS_TEXT_BYTES = 40,
    QR = 0x8000, OPCODE = 0x7800, AA = 0x0400, TC = 0x0200, RD = 0x0100, CD = 0x0010,
    IN = 1,
    PROVEN = 0x7f000002,
};

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
static const uint8_t test_listed[4] = {127, 0, 0, 2}, test_clear[4] = {127, 0, 0, 1};
static const uint8_t test_listed_v6[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 2};

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

static bool same(const uint8_t *a, const uint8_t *b, size_t n) { return __builtin_memcmp(a, b, n) == 0; }

/* ---- reading a query ---- */

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

static void read_addresses(struct dns_query *q);

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
        read_addresses(q);
    return DNS_QUERY;
}

/* ---- its name as addresses ---- */

static unsigned relative_labels(const struct dns_query *q) { return q->n_labels - q->zone->n_labels; }

/* A decimal octet in its one form, or -1. */
static int read_octet(const uint8_t *label)
{
    unsigned len = label[0], value = 0;

    if (len > 3 || (len > 1 && label[1] == '0'))
        return -1;
    for (unsigned i = 1; i <= len; i++) {
        if (label[i] < '0' || label[i] > '9')
            return -1;
        value = value * 10 + label[i] - '0';
    }
    return value <= 255 ? (int)value : -1;
}

static int read_nibble(const uint8_t *label)
{
    uint8_t c = label[1];

    if (label[0] != 1)
        return -1;
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One to four octets, the last first. */
static bool read_v4(const struct dns_query *q, struct dns_prefix *p)
{
    unsigned n = relative_labels(q);

    if (n < 1 || n > 4)
        return false;
    *p = (struct dns_prefix){.addrlen = 4, .plen = (uint8_t)(8 * n)};
    for (unsigned i = 0; i < n; i++) {
        int octet = read_octet(q->name + q->starts[n - 1 - i]);
        if (octet < 0)
            return false;
        p->addr[i] = (uint8_t)octet;
    }
    return true;
}

/* One to 32 nibbles, the last first; what is IPv4 inside means that. */
static bool read_v6(const struct dns_query *q, struct dns_prefix *p)
{
    unsigned n = relative_labels(q);

    if (n < 1 || n > 32 || q->name[q->starts[n - 1]] != 1)
        return false;
    *p = (struct dns_prefix){.addrlen = 16, .plen = (uint8_t)(4 * n)};
    for (unsigned i = 0; i < n; i++) {
        int nibble = read_nibble(q->name + q->starts[n - 1 - i]);
        if (nibble < 0)
            return false;
        p->addr[i / 2] |= (uint8_t)(i % 2 ? nibble : nibble << 4);
    }
    if (p->plen >= MAPPED_BITS && same(p->addr, mapped, sizeof mapped)) {
        __builtin_memcpy(p->addr, p->addr + sizeof mapped, 4);
        p->addrlen = 4;
        p->plen -= MAPPED_BITS;
    }
    return true;
}

static void read_addresses(struct dns_query *q)
{
    q->n_readings += read_v4(q, &q->readings[q->n_readings]);
    q->n_readings += read_v6(q, &q->readings[q->n_readings]);
}

static bool is_host(const struct dns_prefix *p) { return p->plen == 8 * p->addrlen; }

static bool holds_test_point(const struct dns_prefix *p)
{
    const uint8_t *point = p->addrlen == 4 ? test_listed : test_listed_v6;
    unsigned whole = p->plen / 8, rest = p->plen % 8;

    return same(point, p->addr, whole) && (rest == 0 || (point[whole] ^ p->addr[whole]) >> (8 - rest) == 0);
}

/* The text of an address (RFC 5952); its length. */
static unsigned format_v4(const uint8_t *addr, uint8_t *out)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 4; i++) {
        if (i)
            out[n++] = '.';
        if (addr[i] >= 100)
            out[n++] = '0' + addr[i] / 100;
        if (addr[i] >= 10)
            out[n++] = '0' + addr[i] / 10 % 10;
        out[n++] = '0' + addr[i] % 10;
    }
    return n;
}

static unsigned format_group(unsigned group, uint8_t *out)
{
    unsigned n = 0;

    for (int shift = 12; shift >= 0; shift -= 4)
        if (group >> shift || shift == 0)
            out[n++] = (uint8_t)"0123456789abcdef"[group >> shift & 15];
    return n;
}

/* The first of the longest runs of two or more zero groups; its length, or 0. */
static unsigned zero_run(const uint8_t *addr, unsigned *start)
{
    unsigned longest = 1, run = 0;

    for (unsigned i = 0; i < 8; i++) {
        run = get16(addr + 2 * i) ? 0 : run + 1;
        if (run > longest) {
            longest = run;
            *start = i + 1 - run;
        }
    }
    return longest > 1 ? longest : 0;
}

static unsigned format_v6(const uint8_t *addr, uint8_t *out)
{
    unsigned start = 8, run = zero_run(addr, &start), n = 0;

    for (unsigned i = 0; i < 8; i++) {
        if (run && i == start) {
            out[n++] = ':';
            out[n++] = ':';
            i += run - 1;
            continue;
        }
        if (i && !(run && i == start + run))
            out[n++] = ':';
        n += format_group(get16(addr + 2 * i), out + n);
    }
    return n;
}

/* ---- records ---- */

/* A reply as it grows: `at` is its end, `end` that of the room for records, which an OPT may follow. */
struct reply {
    const struct dns_query *q;
    uint8_t *out;
    size_t at, end;
    uint32_t serial;
    uint16_t counts[3];
    bool is_cut;
};

enum section { ANSWER, AUTHORITY, ADDITIONAL };

static unsigned zone_at(const struct dns_query *q)
{
    return DNS_HEADER_BYTES + q->name_size - (q->zone ? q->zone->size : 1u);
}

/* False if it does not fit, and nothing after it may follow. An answer's owner is the name that was asked for. */
static bool add_record(struct reply *r, enum section section, const struct dns_record *record)
{
    uint8_t *out = r->out + r->at;

    if (r->at + record->size > r->end) {
        r->is_cut = section != ADDITIONAL; /* addresses beside an answer are a courtesy */
        return false;
    }
    __builtin_memcpy(out, record->data, record->size);
    for (unsigned i = 0; i < record->n_pointers; i++)
        put16(out + record->pointers[i], 0xc000 | zone_at(r->q));
    if (section == ANSWER)
        put16(out, 0xc000 | DNS_HEADER_BYTES);
    if (record->has_serial)
        put32(out + record->size - SERIAL_AT_END, r->serial);
    r->at += record->size;
    r->counts[section]++;
    return true;
}

static void add_head(uint8_t *out, unsigned type, uint32_t ttl_s, size_t size)
{
    put16(out, 0xc000 | DNS_HEADER_BYTES);
    put16(out + 2, type);
    put16(out + 4, IN);
    put32(out + 6, ttl_s);
    put16(out + 10, (unsigned)size);
}

/* Take a record in whose bytes stand behind the others already. */
static void keep(struct reply *r, size_t size)
{
    r->is_cut = r->at + size > r->end;
    if (!r->is_cut) {
        r->at += size;
        r->counts[ANSWER]++;
    }
}

static void add_a(struct reply *r, uint32_t code)
{
    uint8_t *out = r->out + r->at;

    add_head(out, DNS_A, r->q->zone->ttl_s, 4);
    put32(out + 12, code);
    keep(r, 16);
}

/* One byte of text behind n others in character-strings; how many there are then. */
static size_t add_byte(uint8_t *strings, size_t n, uint8_t byte)
{
    size_t in_string = n % STRING_BYTES, at = n / STRING_BYTES * (STRING_BYTES + 1);

    strings[at] = (uint8_t)(in_string + 1);
    strings[at + 1 + in_string] = byte;
    return n + 1;
}

/* The zone's text with `$` as the address and `$$` as a dollar sign, cut to the limit. */
static void add_text(struct reply *r, const struct dns_prefix *p)
{
    const struct dns_zone *z = r->q->zone;
    uint8_t address[ADDRESS_TEXT_BYTES], *out = r->out + r->at, *strings = out + 12;
    unsigned address_size = p->addrlen == 4 ? format_v4(p->addr, address) : format_v6(p->addr, address);
    size_t n = 0;

    strings[0] = 0;
    for (size_t i = 0; i < z->text_size && n < DNS_TEXT_BYTES; i++) {
        bool is_mark = z->text[i] == '$', is_sign = is_mark && i + 1 < z->text_size && z->text[i + 1] == '$';

        i += is_sign;
        if (!is_mark || is_sign)
            n = add_byte(strings, n, z->text[i]);
        for (unsigned j = 0; is_mark && !is_sign && j < address_size && n < DNS_TEXT_BYTES; j++)
            n = add_byte(strings, n, address[j]);
    }
    size_t size = n + (n ? (n + STRING_BYTES - 1) / STRING_BYTES : 1);
    add_head(out, DNS_TXT, z->ttl_s, size);
    keep(r, 12 + size);
}

/* ---- what is found ---- */

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

    if (p->addrlen == 4 && same(p->addr, test_listed, 4)) {
        *code = q->zone->code ? q->zone->code : PROVEN;
        return DNS_PUBLISHED;
    }
    if (p->addrlen == 4 && same(p->addr, test_clear, 4))
        return 0;
    uint32_t value = l->match(l->shelf, p->addr, p->addrlen);
    *code = answer_code(q->zone, value);
    return *code ? value : 0;
}

/* False: ask Python. */
static bool add_listing(struct reply *r, const struct dns_prefix *p, uint32_t value, uint32_t code)
{
    if (r->q->qtype == DNS_A || r->q->qtype == DNS_ANY)
        add_a(r, code);
    else if (r->q->qtype == DNS_TXT && value & DNS_OWN_TEXT)
        return false;
    else if (r->q->qtype == DNS_TXT)
        add_text(r, p);
    return true;
}

static void add_node(struct reply *r, const struct dns_node *node)
{
    const struct dns_zone *z = r->q->zone;
    const struct dns_rrset *set = NULL;
    bool fits = true;

    for (unsigned i = 0; i < node->n_sets && !set; i++)
        if (r->q->qtype == node->sets[i].type || r->q->qtype == DNS_ANY)
            set = &node->sets[i];
    for (unsigned i = 0; set && fits && i < set->n_records; i++)
        fits = add_record(r, ANSWER, &set->records[i]);
    for (unsigned i = 0; set && set->type == DNS_NS && fits && i < z->n_glue; i++)
        fits = add_record(r, ADDITIONAL, &z->glue[i]);
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
static int find(struct reply *r)
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

        if (!is_host(p)) {
            exists = exists || holds_test_point(p) || l->has_below(l->shelf, p->addr, p->addrlen, p->plen);
            continue;
        }
        uint32_t value = listed(q, p, &code);
        if (value)
            return add_listing(r, p, value, code) ? DNS_NOERROR : -1;
    }
    return exists ? DNS_NOERROR : DNS_NXDOMAIN;
}

static void add_opt(struct reply *r)
{
    uint8_t *out = r->out + r->at;

    __builtin_memset(out, 0, OPT_BYTES);
    put16(out + 1, DNS_OPT);
    put16(out + 3, PAYLOAD_BYTES);
    r->at += OPT_BYTES;
    if (!r->q->cookies_size)
        return;
    put16(out + 9, 4u + r->q->cookies_size);
    put16(out + OPT_BYTES, DNS_COOKIE);
    put16(out + OPT_BYTES + 2, r->q->cookies_size);
    __builtin_memcpy(out + OPT_BYTES + 4, r->q->cookies, r->q->cookies_size);
    r->at += 4u + r->q->cookies_size;
}

static size_t opt_size(const struct dns_query *q)
{
    return !q->has_edns ? 0 : OPT_BYTES + (q->cookies_size ? 4u + q->cookies_size : 0u);
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
    struct reply r = {.q = q, .out = out, .at = DNS_HEADER_BYTES + q->question_size, .serial = serial};
    int rcode = DNS_REFUSED;

    r.end = room_for(q, limit) - opt_size(q);
    if (q->zone) {
        rcode = find(&r);
        if (rcode < 0)
            return 0;
        if (r.counts[ANSWER] == 0 && !r.is_cut)
            add_record(&r, AUTHORITY, &q->zone->negative);
    }
    unsigned flags = QR | (get16(q->data + 2) & (RD | CD)) | (q->zone ? AA : 0) | (r.is_cut ? TC : 0);
    __builtin_memcpy(out, q->data, DNS_HEADER_BYTES + q->question_size);
    put16(out + 2, flags | (unsigned)rcode);
    put16(out + 6, r.counts[ANSWER]);
    put16(out + 8, r.counts[AUTHORITY]);
    put16(out + 10, r.counts[ADDITIONAL] + q->has_edns);
    if (q->has_edns)
        add_opt(&r);
    *told = (struct dns_told){.rcode = (uint8_t)rcode, .has_answer = r.counts[ANSWER] > 0, .is_cut = r.is_cut};
    return r.at;
}

size_t dns_cut(const struct dns_query *q, uint8_t out[DNS_REPLY_BYTES])
{
    struct reply r = {.q = q, .out = out, .at = DNS_HEADER_BYTES + q->question_size};

    put16(out + 2, QR | (q->cookies_size ? BADCOOKIE & 15 : TC) | (get16(q->data + 2) & (RD | CD)));
    put16(out + 6, 0);
    put16(out + 8, 0);
    put16(out + 10, q->has_edns);
    if (q->has_edns)
        add_opt(&r);
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
