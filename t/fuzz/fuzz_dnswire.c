/* Fuzz target: DNS queries, read and answered from two zones; and the shelf's index against a plain list.
 *
 * Build: t/test_fuzz.py. Beyond what the sanitizers see it asserts that a reply keeps within its limit, answers its
 * query, and is never there for what is an answer itself; and that the ordered index says what a walk over all says.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "addrtable.h"
#include "dnswire.h"
#include "shelf.h"

enum { OPERATIONS = 4096 };

static struct shelf *shelf;

static uint32_t match(const void *s, const uint8_t *addr, unsigned addrlen)
{
    return at_lookup(shelf_table(s), addr, addrlen, NULL);
}

static bool has_below(const void *s, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    return shelf_has_below(s, addr, addrlen, plen);
}

#define SOA_DATA "\xc0\0\0\6\0\1\0\0\0\x3c\0\x18\xc0\0\xc0\0" "\0\0\0\0" "\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1"

static const struct dns_record soa = {(const uint8_t *)SOA_DATA, sizeof SOA_DATA - 1, 3, true, {0, 12, 14}};
static const struct dns_record a = {(const uint8_t *)"\xc0\0\0\1\0\1\0\0\0\1\0\4\1\2\3\4", 16, 1, false, {0}};
static const struct dns_record many[] = {
    {(const uint8_t *)"\xc0\0\0\2\0\1\0\0\0\1\0\2\xc0\0", 14, 2, false, {0, 12}},
    {(const uint8_t *)"\xc0\0\0\2\0\1\0\0\0\1\0\2\xc0\0", 14, 2, false, {0, 12}},
};
static const struct dns_rrset sets[] = {{6, 1, &soa}, {DNS_NS, 2, many}, {DNS_A, 1, &a}};
static const struct dns_node nodes[] = {{(const uint8_t *)"", 0, 3, sets}, {(const uint8_t *)"\3www", 4, 1, sets + 2}};

static struct dns_zone zones[] = {
    {.name = (const uint8_t *)"\1x\2bl\0", .size = 6, .n_labels = 2, .ttl_s = 1, .promiscuous = true, .code = 0},
    {.name = (const uint8_t *)"\2bl\0", .size = 4, .n_labels = 1, .ttl_s = 300, .code = 0x7f000004},
};
static const struct dns_zones all = {zones, 2};
static uint8_t text[2100];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t listed[][4] = {{1, 2, 3, 4}, {10, 0, 0, 0}, {192, 0, 2, 1}};
    static const uint8_t net6[16] = {0x20, 1, 0xd, 0xb8};

    (void)argc, (void)argv;
    shelf = shelf_new(true, 0);
    for (unsigned i = 0; i < 3; i++)
        shelf_set(shelf, listed[i], 4, i == 1 ? 8 : 32, 0x201 | (i == 2 ? DNS_OWN_TEXT : 0) | (i ? DNS_PUBLISHED : 0));
    shelf_set(shelf, net6, 16, 64, 0x201 | DNS_PUBLISHED);
    memset(text, '$', sizeof text);
    for (unsigned i = 0; i < sizeof text; i += 3)
        text[i] = 'x';
    for (unsigned i = 0; i < 2; i++) {
        zones[i].text = text;
        zones[i].text_size = i ? sizeof text : 3;
        zones[i].negative = soa;
        zones[i].n_nodes = 2;
        zones[i].nodes = nodes;
        zones[i].n_glue = 1;
        zones[i].glue = &a;
        zones[i].listings = (struct dns_listings){shelf, match, has_below};
    }
    return 0;
}

static void answer(const uint8_t *data, size_t size, size_t limit)
{
    uint8_t *query = malloc(size ? size : 1), reply[DNS_REPLY_BYTES]; /* its own, so that reading past it is seen */
    struct dns_query q;
    struct dns_told told;

    memcpy(query, data, size);
    enum dns_kind kind = dns_read(query, size, &all, &q);
    assert(kind == DNS_SILENCE || (size >= DNS_HEADER_BYTES && !(query[2] & 0x80)));
    if (kind == DNS_QUERY) {
        if (q.cookie_size) { /* the loop gives one: dnsloop.c */
            memcpy(q.cookies, q.cookie, 8);
            q.cookies_size = 24;
        }
        size_t len = dns_reply(&q, 7, limit, reply, &told);
        assert(len <= (limit > DNS_CLASSIC_BYTES ? limit : DNS_CLASSIC_BYTES));
        assert(len == 0 || (len >= DNS_HEADER_BYTES + q.question_size && memcmp(reply, query, 2) == 0));
        assert(len == 0 || memcmp(reply + DNS_HEADER_BYTES, query + DNS_HEADER_BYTES, q.question_size) == 0);
        assert(len == 0 || (reply[2] & 0x80 && told.rcode == (reply[3] & 15)));
        if (len)
            assert(dns_cut(&q, reply) <= DNS_HEADER_BYTES + q.question_size + 11u + (q.cookies_size ? 28u : 0u));
    } else if (kind == DNS_BROKEN) {
        assert(dns_bare(query, DNS_FORMERR, reply) == DNS_HEADER_BYTES && reply[2] & 0x80);
    }
    free(query);
}

/* Four bytes an operation: set or take out, or look below a prefix. The model is every entry ever set, in a list. */
static void update(const uint8_t *data, size_t size)
{
    static struct at_entry model[OPERATIONS];
    struct shelf *s = shelf_new(false, 0);
    size_t n = 0;

    for (size_t at = 0; at + 4 <= size && n < OPERATIONS; at += 4) {
        struct at_entry e = {.addr = {10, data[at + 1], data[at + 2]}, .addrlen = data[at] & 1 ? 16 : 4, .value = 0x211};
        e.plen = (uint8_t)(data[at + 3] % (8 * e.addrlen + 1));
        for (unsigned i = e.plen; i < 24; i++)
            e.addr[i / 8] &= (uint8_t)~(0x80 >> i % 8);
        if (data[at] & 2) {
            bool found = false;
            for (size_t i = 0; i < n; i++)
                found |= model[i].value && model[i].addrlen == e.addrlen &&
                         ((model[i].plen >= e.plen && (e.plen >= 24 ? memcmp(model[i].addr, e.addr, 16) == 0
                           : ((model[i].addr[0] << 16 | model[i].addr[1] << 8 | model[i].addr[2]) ^
                              (e.addr[0] << 16 | e.addr[1] << 8 | e.addr[2])) >> (24 - e.plen) == 0)));
            assert(!found || shelf_has_below(s, e.addr, e.addrlen, e.plen)); /* may say yes, but never a wrong no */
            continue;
        }
        for (size_t i = 0; i < n; i++)
            if (model[i].addrlen == e.addrlen && model[i].plen == e.plen && memcmp(model[i].addr, e.addr, 16) == 0)
                model[i].value = 0;
        if (data[at] & 4) {
            shelf_del(s, e.addr, e.addrlen, e.plen);
        } else {
            assert(shelf_set(s, e.addr, e.addrlen, e.plen, e.value) == 0);
            model[n++] = e;
        }
    }
    for (size_t i = 0; i < n; i++)
        assert(!model[i].value || shelf_del(s, model[i].addr, model[i].addrlen, model[i].plen) == 1);
    assert(at_count(shelf_table(s)) == 0 && shelf_index_bytes(s) == 0);
    shelf_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        answer(data + 1, size - 1, data[0] & 2 ? 1232 : DNS_REPLY_BYTES);
    else
        update(data + 1, size - 1);
    return 0;
}
