/* See dnsrecord.h. */
#include "dnsrecord.h"

#include "dnsbytes.h"
#include "dnsname.h"

enum {
    STRING_BYTES = 255,   /* of one character-string in a TXT */
    SERIAL_AT_END = 20,   /* the serial starts the last twenty bytes of an SOA */
    OPT_BYTES = 11,
    PAYLOAD_BYTES = 1232, /* what our OPT says: fits every path unfragmented (dnsflagday.net/2020) */
};

static unsigned zone_at(const struct dns_query *q)
{
    return DNS_HEADER_BYTES + q->name_size - (q->zone ? q->zone->size : 1u);
}

bool dns_add_record(struct dns_draft *r, enum dns_section section, const struct dns_record *record)
{
    uint8_t *out = r->out + r->at;

    if (r->at + record->size > r->end) {
        r->is_cut = section != DNS_ADDITIONAL; /* addresses beside an answer are a courtesy */
        return false;
    }
    __builtin_memcpy(out, record->data, record->size);
    for (unsigned i = 0; i < record->n_pointers; i++)
        put16(out + record->pointers[i], 0xc000 | zone_at(r->q));
    if (section == DNS_ANSWER)
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
static void keep(struct dns_draft *r, size_t size)
{
    r->is_cut = r->at + size > r->end;
    if (!r->is_cut) {
        r->at += size;
        r->counts[DNS_ANSWER]++;
    }
}

void dns_add_a(struct dns_draft *r, uint32_t code)
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

void dns_add_text(struct dns_draft *r, const struct dns_prefix *p)
{
    const struct dns_zone *z = r->q->zone;
    uint8_t address[DNS_ADDRESS_BYTES], *out = r->out + r->at, *strings = out + 12;
    unsigned address_size = dns_format_addr(p, address);
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

void dns_add_opt(struct dns_draft *r)
{
    uint8_t *out = r->out + r->at;

    __builtin_memset(out, 0, OPT_BYTES);
    put16(out + 1, DNS_OPT);
    put16(out + 3, PAYLOAD_BYTES);
    put16(out + 7, r->q->wants_dnssec ? DNS_DO : 0);
    r->at += OPT_BYTES;
    if (!r->q->cookies_size)
        return;
    put16(out + 9, 4u + r->q->cookies_size);
    put16(out + OPT_BYTES, DNS_COOKIE);
    put16(out + OPT_BYTES + 2, r->q->cookies_size);
    __builtin_memcpy(out + OPT_BYTES + 4, r->q->cookies, r->q->cookies_size);
    r->at += 4u + r->q->cookies_size;
}

size_t dns_opt_size(const struct dns_query *q)
{
    return !q->has_edns ? 0 : OPT_BYTES + (q->cookies_size ? 4u + q->cookies_size : 0u);
}
