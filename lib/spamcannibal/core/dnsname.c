/* See dnsname.h. */
#include "dnsname.h"

#include "dnsbytes.h"

enum { MAPPED_BITS = 96 /* of ::ffff:0:0/96 */ };

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
static const uint8_t test_listed[4] = {127, 0, 0, 2}, test_clear[4] = {127, 0, 0, 1};
static const uint8_t test_listed_v6[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 2};

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

void dns_read_addresses(struct dns_query *q)
{
    q->n_readings += read_v4(q, &q->readings[q->n_readings]);
    q->n_readings += read_v6(q, &q->readings[q->n_readings]);
}

bool dns_holds_test_point(const struct dns_prefix *p)
{
    const uint8_t *point = p->addrlen == 4 ? test_listed : test_listed_v6;
    unsigned whole = p->plen / 8, rest = p->plen % 8;

    return same(point, p->addr, whole) && (rest == 0 || (point[whole] ^ p->addr[whole]) >> (8 - rest) == 0);
}

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

unsigned dns_format_addr(const struct dns_prefix *p, uint8_t out[DNS_ADDRESS_BYTES])
{
    return p->addrlen == 4 ? format_v4(p->addr, out) : format_v6(p->addr, out);
}

enum dns_point dns_test_point(const struct dns_prefix *p)
{
    if (p->addrlen != 4)
        return DNS_NO_POINT;
    if (same(p->addr, test_listed, 4))
        return DNS_POINT_LISTED;
    return same(p->addr, test_clear, 4) ? DNS_POINT_CLEAR : DNS_NO_POINT;
}
