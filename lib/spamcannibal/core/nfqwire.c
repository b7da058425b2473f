/* See nfqwire.h. */
#include "nfqwire.h"

#include <string.h>

enum {
    NLMSG_HEADER = 16,
    NFGENMSG = 4,
    ATTR_HEADER = 4,

    TYPE_ERROR = 2,
    TYPE_PACKET = 3 << 8 | 0,
    TYPE_CONFIG = 3 << 8 | 2,
    TYPE_VERDICT_BATCH = 3 << 8 | 3,

    ATTR_PACKET_HDR = 1,
    ATTR_VERDICT_HDR = 2,
    ATTR_INDEV = 5,
    ATTR_HWADDR = 9,
    ATTR_PAYLOAD = 10,
    ATTR_CFG_MASK = 4,
    ATTR_CFG_FLAGS = 5,
    ATTR_TYPE_MASK = 0x3fff, /* without the "nested" and "network order" bits */

    FLAG_REQUEST = 1, /* and no FLAG_ACK: the kernel answers only what it refuses */
};

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

/* Netlink's own headers are in host order. */
static uint16_t host16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t host32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static size_t padded(size_t len) { return (len + 3) & ~(size_t)3; }

static void read_attribute(uint16_t type, const uint8_t *value, size_t len, struct nfq_packet *out, int *has_id)
{
    switch (type) {
    case ATTR_PACKET_HDR:
        if (len < 7)
            return;
        out->id = get32(value);
        out->protocol = get16(value + 4);
        *has_id = 1;
        return;
    case ATTR_INDEV:
        if (len >= 4)
            out->indev = get32(value);
        return;
    case ATTR_HWADDR:
        if (len < 12 || get16(value) > sizeof out->hwaddr)
            return;
        out->hwlen = (uint8_t)get16(value);
        memcpy(out->hwaddr, value + 4, sizeof out->hwaddr);
        return;
    case ATTR_PAYLOAD:
        out->data = value;
        out->caplen = (uint32_t)len;
        return;
    default:
        return;
    }
}

/* A payload cut by a short receive buffer still counts as far as it goes: the decoder says "truncated". */
static enum nfq_kind read_packet(const uint8_t *p, size_t len, struct nfq_packet *out)
{
    int has_id = 0;
    size_t at = NFGENMSG;

    while (at + ATTR_HEADER <= len) {
        size_t size = host16(p + at);
        if (size < ATTR_HEADER)
            break;
        size_t end = at + size < len ? at + size : len;
        read_attribute(host16(p + at + 2) & ATTR_TYPE_MASK, p + at + ATTR_HEADER, end - at - ATTR_HEADER, out, &has_id);
        at += padded(size);
    }
    return has_id ? NFQ_PACKET : NFQ_NO_ID;
}

enum nfq_kind nfqwire_parse(const uint8_t *buf, size_t len, struct nfq_packet *out, size_t *used)
{
    memset(out, 0, sizeof *out);
    *used = 0;
    if (len < NLMSG_HEADER)
        return NFQ_MALFORMED;
    size_t size = host32(buf);
    if (size < NLMSG_HEADER)
        return NFQ_MALFORMED;
    if (size > len)
        size = len;
    *used = padded(size) < len ? padded(size) : len;

    switch (host16(buf + 4)) {
    case TYPE_PACKET:
        return read_packet(buf + NLMSG_HEADER, size - NLMSG_HEADER, out);
    case TYPE_ERROR:
        if (size < NLMSG_HEADER + 4)
            return NFQ_OTHER;
        out->error = (int)(0u - host32(buf + NLMSG_HEADER));
        return NFQ_ERROR;
    default:
        return NFQ_OTHER;
    }
}

static void put_header(uint8_t *out, uint32_t len, uint16_t type, uint16_t queue)
{
    uint16_t flags = FLAG_REQUEST;
    memset(out, 0, NLMSG_HEADER + NFGENMSG);
    memcpy(out, &len, sizeof len);
    memcpy(out + 4, &type, sizeof type);
    memcpy(out + 6, &flags, sizeof flags);
    put16(out + NLMSG_HEADER + 2, queue);
}

static uint8_t *put_attribute(uint8_t *out, uint16_t type, uint16_t value_len)
{
    uint16_t len = ATTR_HEADER + value_len;
    memcpy(out, &len, sizeof len);
    memcpy(out + 2, &type, sizeof type);
    return out + ATTR_HEADER;
}

void nfqwire_verdict_upto(uint8_t out[NFQWIRE_VERDICT_BYTES], uint16_t queue, uint32_t id, uint32_t verdict)
{
    put_header(out, NFQWIRE_VERDICT_BYTES, TYPE_VERDICT_BATCH, queue);
    uint8_t *value = put_attribute(out + NLMSG_HEADER + NFGENMSG, ATTR_VERDICT_HDR, 8);
    put32(value, verdict);
    put32(value + 4, id);
}

void nfqwire_set_flags(uint8_t out[NFQWIRE_FLAGS_BYTES], uint16_t queue, uint32_t flags)
{
    put_header(out, NFQWIRE_FLAGS_BYTES, TYPE_CONFIG, queue);
    uint8_t *value = put_attribute(out + NLMSG_HEADER + NFGENMSG, ATTR_CFG_FLAGS, 4);
    put32(value, flags);
    put32(put_attribute(value + 4, ATTR_CFG_MASK, 4), flags);
}

_Static_assert(NFQWIRE_VERDICT_BYTES == NLMSG_HEADER + NFGENMSG + ATTR_HEADER + 8, "verdict message");
_Static_assert(NFQWIRE_FLAGS_BYTES == NLMSG_HEADER + NFGENMSG + 2 * (ATTR_HEADER + 4), "flags message");
