/* Ways out for replies: batches of complete IP packets, sent past the host's own stack.
 *
 * Where the packet that is answered came over Ethernet, the reply goes out of the same interface to the same MAC by
 * an AF_PACKET socket: no route, no conntrack, no firewall. Elsewhere (loopback, tunnels) it takes a raw IP
 * socket, IPv4 or IPv6, marked LINK_MARK so that the firewall can tell our replies from the host's.
 * Opening needs CAP_NET_RAW (and CAP_NET_ADMIN for the mark); sending does not.
 * One thread at a time.
 */
#ifndef SC_LINK_H
#define SC_LINK_H

#include "trap.h"

struct links;

enum { LINK_PACKET_BYTES = PKT_REPLY_MAX, LINK_MARK = 0x5343 };

struct link_counts {
    uint64_t sent;
    uint64_t failed; /* the kernel refused: buffer full, interface down, no route */
};

/* NULL with errno. */
struct links *links_open(void);
void links_close(struct links *l);

/* Room of LINK_PACKET_BYTES for one packet to that peer; it is only taken by links_add. */
uint8_t *links_room(struct links *l, const struct link_addr *peer, unsigned family);
/* Take the packet of len bytes just written there; it goes out with the next flush, or sooner when many wait. */
void links_add(struct links *l, const struct link_addr *peer, unsigned family, size_t len);
void links_flush(struct links *l);

const struct link_counts *links_counts(const struct links *l);

#endif
