/* Who asked, and by which of our addresses: out of a datagram's header, and into that of its reply.
 *
 * A socket that is bound to all addresses tells with each datagram where it was sent to (IP_PKTINFO), and the reply has
 * to leave from there: resolvers discard what comes from elsewhere.
 */
#ifndef SC_DNSPEER_H
#define SC_DNSPEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    DNSPEER_NAME_BYTES = 28,    /* a sockaddr_in6 */
    DNSPEER_CONTROL_BYTES = 40, /* an in6_pktinfo with its header */
};

struct dnspeer {
    _Alignas(8) uint8_t control[DNSPEER_CONTROL_BYTES];
    uint8_t name[DNSPEER_NAME_BYTES];
    uint8_t name_size, control_size;
    uint16_t socket; /* number of it, in the loop */
};

/* Whether the socket tells where a datagram was sent to. */
bool dnspeer_is_wildcard(int fd);

/* Let a header take in a peer, with where the datagram was sent to if the socket tells. */
void dnspeer_expect(struct dnspeer *peer, struct msghdr *h, bool is_wildcard);
/* Keep what it took in, made fit for a reply. */
void dnspeer_note(struct dnspeer *peer, struct msghdr *h);

/* Let a header lead to a peer, which must stay while it is used. */
void dnspeer_address(const struct dnspeer *peer, struct msghdr *h);

bool dnspeer_is_same(const struct dnspeer *a, const struct dnspeer *b);

/* The peer's address; its size, 0 if it has none. */
unsigned dnspeer_addr(const struct dnspeer *peer, uint8_t addr[16]);

#endif
