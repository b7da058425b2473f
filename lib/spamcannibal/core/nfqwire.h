/* The netlink messages of an NFQUEUE, as bytes: packets in, verdicts and settings out. Pure: no I/O, no clock.
 *
 *   struct nlmsghdr   length u32, type u16, flags u16, sequence u32, port u32      host order
 *   struct nfgenmsg   family u8, version u8, queue u16                             queue in network order
 *   attributes        length u16, type u16, value, padded to 4                     header host, value network order
 *
 * Type is 3 << 8 | message. Every message is read by bytes and every length checked, although the kernel is the
 * only one who can write them: a wrong guess here must not become a read outside the buffer.
 * Source: linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_queue.h.
 */
#ifndef SC_NFQWIRE_H
#define SC_NFQWIRE_H

#include <stddef.h>
#include <stdint.h>

enum nfq_kind {
    NFQ_PACKET,    /* out is filled */
    NFQ_NO_ID,     /* a packet message that does not say which packet: nothing can be answered */
    NFQ_ERROR,     /* the kernel refuses an earlier message of ours: out->error is the errno */
    NFQ_OTHER,     /* something else, to be skipped */
    NFQ_MALFORMED, /* not a netlink message; the rest of the buffer is useless */
};

struct nfq_packet {
    uint32_t id;
    uint32_t indev;       /* interface index, 0 if the packet came from nowhere */
    const uint8_t *data;  /* IP header onwards, into the caller's buffer; NULL with caplen 0 if there is none */
    uint32_t caplen;      /* bytes at data */
    uint16_t protocol;    /* ETH_P_IP, ETH_P_IPV6, ... */
    uint8_t hwlen;        /* length of the sender's link-layer address, 0 if the link has none, at most 8 */
    uint8_t hwaddr[8];
    int error;
};

/* Read the first message of buf; *used is how far the next one is (0 at NFQ_MALFORMED). */
enum nfq_kind nfqwire_parse(const uint8_t *buf, size_t len, struct nfq_packet *out, size_t *used);

enum { NFQWIRE_VERDICT_BYTES = 32, NFQWIRE_FLAGS_BYTES = 36 };

/* Write the message that gives `verdict` (NF_DROP 0, NF_ACCEPT 1) to every waiting packet of the queue up to and
 * including id: one message decides a run of packets, and also any earlier one whose verdict got lost. */
void nfqwire_verdict_upto(uint8_t out[NFQWIRE_VERDICT_BYTES], uint16_t queue, uint32_t id, uint32_t verdict);

/* Write the message that sets the NFQA_CFG_F_* bits `flags` of a queue that is bound to this socket. */
void nfqwire_set_flags(uint8_t out[NFQWIRE_FLAGS_BYTES], uint16_t queue, uint32_t flags);

#endif
