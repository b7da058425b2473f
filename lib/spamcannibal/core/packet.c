/* Decoding and building of IPv4/IPv6 + TCP packets; see packet.h. */
#include "packet.h"

enum { V4_HEADER = 20, V6_HEADER = 40, TCP_HEADER = 20, TTL = 64 };

enum { EXT_HOP_BY_HOP = 0, EXT_ROUTING = 43, EXT_FRAGMENT = 44, EXT_AH = 51, EXT_DESTINATION = 60 };

static uint16_t load16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static uint32_t load32(const uint8_t *p) { return (uint32_t)load16(p) << 16 | load16(p + 2); }

static void store16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void store32(uint8_t *p, uint32_t v)
{
    store16(p, v >> 16);
    store16(p + 2, v);
}

static void copy(uint8_t *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}

/* Add big-endian 16-bit words to a ones' complement sum; an odd last byte counts as the high half of a word. */
static uint64_t sum16(uint64_t sum, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 1 < n; i += 2)
        sum += load16(p + i);
    return n & 1 ? sum + ((uint32_t)p[n - 1] << 8) : sum;
}

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* The checksum of a TCP segment of n bytes with its pseudo header: 0 if the one inside is right. */
static uint16_t tcp_checksum(const uint8_t *src, const uint8_t *dst, size_t addrlen, const uint8_t *tcp, size_t n)
{
    uint64_t sum = sum16(sum16(PKT_PROTO_TCP + n, src, addrlen), dst, addrlen);

    return fold(sum16(sum, tcp, n));
}

/* Where in the packet the decoder is: the bytes there are, and the bytes the headers claim. */
struct cursor {
    const uint8_t *p;
    size_t have;
    size_t total;
    size_t at;
    bool sums; /* checksums can and shall be verified */
};

static enum pkt_kind decode_tcp(const struct cursor *c, struct pkt *out)
{
    const uint8_t *tcp = c->p + c->at;
    size_t claimed = c->total - c->at;

    if (claimed < TCP_HEADER)
        return PKT_BAD;
    if (c->have - c->at < TCP_HEADER)
        return PKT_TRUNCATED;
    size_t header = (size_t)(tcp[12] >> 4) * 4;
    if (header < TCP_HEADER || header > claimed)
        return PKT_BAD;
    if (c->sums && tcp_checksum(out->src, out->dst, out->family == 4 ? 4 : 16, tcp, claimed) != 0)
        return PKT_BAD;
    out->sport = load16(tcp);
    out->dport = load16(tcp + 2);
    out->seq = load32(tcp + 4);
    out->ack = load32(tcp + 8);
    out->flags = tcp[13];
    out->window = load16(tcp + 14);
    out->payload_len = (uint32_t)(claimed - header);
    return PKT_TCP;
}

static enum pkt_kind decode_v4(const uint8_t *p, size_t caplen, bool verify_csum, struct pkt *out)
{
    if (caplen < V4_HEADER)
        return PKT_TRUNCATED;
    struct cursor c = {.p = p, .total = load16(p + 2), .at = (size_t)(p[0] & 15) * 4};

    c.have = caplen < c.total ? caplen : c.total;
    out->family = 4;
    out->proto = p[9];
    out->total_len = (uint32_t)c.total;
    copy(out->src, p + 12, 4);
    copy(out->dst, p + 16, 4);
    if (c.at < V4_HEADER || c.at > c.total)
        return PKT_BAD;
    if (c.at > c.have)
        return PKT_TRUNCATED;
    if (verify_csum && fold(sum16(0, p, c.at)) != 0)
        return PKT_BAD;
    if (load16(p + 6) & 0x3fff) /* more fragments, or an offset */
        return PKT_FRAGMENT;
    if (out->proto != PKT_PROTO_TCP)
        return PKT_OTHER;
    c.sums = verify_csum && c.have == c.total;
    return decode_tcp(&c, out);
}

static bool is_extension(uint8_t type)
{
    return type == EXT_HOP_BY_HOP || type == EXT_ROUTING || type == EXT_FRAGMENT || type == EXT_AH ||
           type == EXT_DESTINATION;
}

/* Length of the extension header at p, whose first two bytes can be read. */
static size_t extension_len(uint8_t type, const uint8_t *p)
{
    if (type == EXT_FRAGMENT)
        return 8;
    return type == EXT_AH ? ((size_t)p[1] + 2) * 4 : ((size_t)p[1] + 1) * 8;
}

/* Walk the extension headers to TCP. out->proto is the type of the header at the cursor all the while. */
static enum pkt_kind walk_extensions(struct cursor *c, struct pkt *out)
{
    for (unsigned i = 0; i <= PKT_EXTENSIONS_MAX; i++) {
        uint8_t type = out->proto;

        if (type == PKT_PROTO_TCP)
            return decode_tcp(c, out);
        if (!is_extension(type))
            return PKT_OTHER;
        if (c->total - c->at < 8)
            return PKT_BAD;
        if (c->have - c->at < 8)
            return PKT_TRUNCATED;
        const uint8_t *ext = c->p + c->at;
        size_t len = extension_len(type, ext);

        if (len > c->total - c->at)
            return PKT_BAD;
        out->proto = ext[0];
        if (type == EXT_FRAGMENT && load16(ext + 2) & 0xfff9) /* not the whole packet in one fragment (RFC 6946) */
            return PKT_FRAGMENT;
        if (type == EXT_ROUTING && ext[3] != 0) /* the checksum is over a destination still to come */
            c->sums = false;
        if (len > c->have - c->at)
            return PKT_TRUNCATED;
        c->at += len;
    }
    return PKT_TRUNCATED;
}

static enum pkt_kind decode_v6(const uint8_t *p, size_t caplen, bool verify_csum, struct pkt *out)
{
    if (caplen < V6_HEADER)
        return PKT_TRUNCATED;
    struct cursor c = {.p = p, .total = V6_HEADER + (size_t)load16(p + 4), .at = V6_HEADER};

    c.have = caplen < c.total ? caplen : c.total;
    c.sums = verify_csum && c.have == c.total;
    out->family = 6;
    out->proto = p[6];
    out->total_len = (uint32_t)c.total;
    copy(out->src, p + 8, 16);
    copy(out->dst, p + 24, 16);
    return walk_extensions(&c, out);
}

enum pkt_kind pkt_decode(const uint8_t *p, size_t caplen, bool verify_csum, struct pkt *out)
{
    *out = (struct pkt){0};
    if (caplen == 0)
        out->kind = PKT_TRUNCATED;
    else if (p[0] >> 4 == 4)
        out->kind = (uint8_t)decode_v4(p, caplen, verify_csum, out);
    else if (p[0] >> 4 == 6)
        out->kind = (uint8_t)decode_v6(p, caplen, verify_csum, out);
    else
        out->kind = PKT_BAD;
    return (enum pkt_kind)out->kind;
}

bool pkt_may_be_tcp(const struct pkt *p)
{
    return p->proto == PKT_PROTO_TCP || (p->family == 6 && is_extension(p->proto));
}

bool pkt_is_unicast(unsigned family, const uint8_t *addr)
{
    uint8_t any = 0;

    if (family == 4)
        return addr[0] != 0 && addr[0] < 224;
    for (unsigned i = 0; i < 16; i++)
        any |= addr[i];
    return any != 0 && addr[0] != 0xff;
}

size_t pkt_reply_len(const struct reply *r)
{
    return (r->family == 4 ? V4_HEADER : V6_HEADER) + TCP_HEADER + (size_t)r->payload_len;
}

static void build_v4(const struct reply *r, uint8_t *out, size_t len)
{
    static const uint8_t fixed[12] = {0x45, 0, 0, 0, 0, 0, 0x40 /* do not fragment */, 0, TTL, PKT_PROTO_TCP, 0, 0};

    copy(out, fixed, sizeof fixed);
    store16(out + 2, (uint32_t)len);
    copy(out + 12, r->src, 4);
    copy(out + 16, r->dst, 4);
    store16(out + 10, fold(sum16(0, out, V4_HEADER)));
}

static void build_v6(const struct reply *r, uint8_t *out, size_t len)
{
    static const uint8_t fixed[8] = {0x60, 0, 0, 0, 0, 0, PKT_PROTO_TCP, TTL};

    copy(out, fixed, sizeof fixed);
    store16(out + 4, (uint32_t)(len - V6_HEADER));
    copy(out + 8, r->src, 16);
    copy(out + 24, r->dst, 16);
}

size_t pkt_build(const struct reply *r, uint8_t *out, size_t cap)
{
    size_t header = r->family == 4 ? V4_HEADER : V6_HEADER, len = pkt_reply_len(r);
    uint8_t *tcp = out + header;

    if (len > cap)
        return 0;
    if (r->family == 4)
        build_v4(r, out, len);
    else
        build_v6(r, out, len);
    store16(tcp, r->sport);
    store16(tcp + 2, r->dport);
    store32(tcp + 4, r->seq);
    store32(tcp + 8, r->ack);
    tcp[12] = TCP_HEADER / 4 << 4;
    tcp[13] = r->flags;
    store16(tcp + 14, r->window);
    store32(tcp + 16, 0); /* checksum, urgent pointer */
    copy(tcp + TCP_HEADER, r->payload, r->payload_len);
    store16(tcp + 16, tcp_checksum(r->src, r->dst, r->family == 4 ? 4 : 16, tcp, len - header));
    return len;
}
