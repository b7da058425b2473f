/* Fuzz the packet decoder, and the builder with what the decoder found.
 *
 * Input: one byte (odd: verify checksums), then a packet.
 */
#include <stdlib.h>
#include <string.h>

#include "packet.h"

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void rebuild(const struct pkt *p)
{
    static const uint8_t payload[512] = "the payload is not what is tested here";
    uint8_t out[PKT_REPLY_MAX];
    struct reply r = {
        .family = p->family,
        .flags = p->flags,
        .sport = p->sport,
        .dport = p->dport,
        .seq = p->seq,
        .ack = p->ack,
        .window = p->window,
        .payload = payload,
        .payload_len = (uint16_t)(p->payload_len % (sizeof payload + 1)),
    };
    struct pkt again;

    memcpy(r.src, p->src, 16);
    memcpy(r.dst, p->dst, 16);
    const size_t len = pkt_build(&r, out, sizeof out);
    check(len == pkt_reply_len(&r) && len <= sizeof out);
    check(pkt_build(&r, out, len - 1) == 0);
    check(pkt_decode(out, len, true, &again) == PKT_TCP);
    check(again.total_len == len && again.payload_len == r.payload_len);
    check(again.seq == p->seq && again.ack == p->ack && again.flags == p->flags && again.window == p->window);
    check(memcmp(again.src, p->src, 16) == 0 && memcmp(again.dst, p->dst, 16) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pkt p;

    if (size == 0)
        return 0;
    const enum pkt_kind kind = pkt_decode(data + 1, size - 1, data[0] & 1, &p);
    check(kind == (enum pkt_kind)p.kind && kind <= PKT_BAD);
    check(p.family == 0 || p.family == 4 || p.family == 6);
    check(p.family != 0 || kind == PKT_TRUNCATED || kind == PKT_BAD);
    check(p.payload_len <= p.total_len);
    if (kind == PKT_TCP)
        rebuild(&p);
    return 0;
}
