/* IPv4/IPv6 + TCP: a decoder of (cut) packets and a builder of replies.
 *
 * In: the first bytes of an IP packet, as the kernel's queue copies them up. Out: one struct and a verdict on the
 * packet's shape. The other way: a struct reply in, a packet with checksums out. Pure and freestanding: no libc
 * call, no allocation, no globals, bounded loops; every read is checked against the bytes there are.
 *
 *   kind            what is known                        family  src,dst  proto   ports...flags, payload_len
 *   PKT_TCP         everything                              x       x       6         x
 *   PKT_OTHER       a whole packet, not TCP                 x       x       x         -
 *   PKT_FRAGMENT    part of a packet                        x       x       x (1)     -
 *   PKT_TRUNCATED   headers go on past the copied bytes,   x (2)   x (2)   x (1)     -
 *                   or past the eight that are looked at
 *   PKT_BAD         no stack takes it: lengths that        x (2)   x (2)    -         -
 *                   contradict each other, bad checksum
 *   (1) the last header reached, which may be an IPv6 extension header.
 *   (2) family is 0 when the addresses could not be read.
 *
 * Sources: RFC 791, RFC 8200, RFC 4302 (length of AH), RFC 9293.
 */
#ifndef SC_PACKET_H
#define SC_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pkt_kind { PKT_TCP, PKT_OTHER, PKT_FRAGMENT, PKT_TRUNCATED, PKT_BAD };

enum { PKT_FIN = 1, PKT_SYN = 2, PKT_RST = 4, PKT_PSH = 8, PKT_ACK = 16, PKT_URG = 32, PKT_ECE = 64, PKT_CWR = 128 };

enum { PKT_PROTO_TCP = 6, PKT_EXTENSIONS_MAX = 8, PKT_REPLY_MAX = 40 + 20 + 512 };

struct pkt {
    uint8_t family; /* 4, 6, or 0: addresses unknown */
    uint8_t proto;
    uint8_t flags;
    uint8_t kind; /* enum pkt_kind */
    uint8_t src[16]; /* IPv4: the first four, the rest zero */
    uint8_t dst[16];
    uint16_t sport, dport;
    uint32_t seq, ack;
    uint16_t window;
    uint32_t payload_len; /* by the headers, however little was copied */
    uint32_t total_len;   /* of the IP packet, likewise */
};

/* A TCP segment to send: no IP or TCP options, TTL 64, do not fragment. The payload belongs to the caller. */
struct reply {
    uint8_t family;
    uint8_t flags;
    uint8_t src[16], dst[16];
    uint16_t sport, dport;
    uint32_t seq, ack;
    uint16_t window;
    uint16_t payload_len;
    const uint8_t *payload;
};

/* Decode the first caplen bytes of a packet; *out is always written whole. With verify_csum a packet that is
 * there whole has its IPv4 header and TCP checksums verified; leave it off where the kernel has done so, and
 * for packets of this machine, whose checksums the kernel has not yet filled in. */
enum pkt_kind pkt_decode(const uint8_t *p, size_t caplen, bool verify_csum, struct pkt *out);

/* Whether it is TCP, or what is known leaves that open (a fragment, headers cut off). */
bool pkt_may_be_tcp(const struct pkt *p);

/* Whether an address is one host's: not multicast, broadcast, reserved or unspecified. */
bool pkt_is_unicast(unsigned family, const uint8_t *addr);

/* Write a reply to out; its length, or 0 when cap is too small. PKT_REPLY_MAX suffices for payloads up to 512. */
size_t pkt_build(const struct reply *r, uint8_t *out, size_t cap);

/* Length of the packet that pkt_build would write. */
size_t pkt_reply_len(const struct reply *r);

#endif
