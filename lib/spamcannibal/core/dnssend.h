/* The replies of a batch on their way out: all in one system call, those to one peer together.
 *
 *   dnssend_add ... dnssend_all        replies and peers are borrowed in between; they leave in any order
 *
 * Most of what a query costs is the kernel's work on its reply. So replies of one size to one peer, and one that is
 * shorter, go as one datagram which the kernel cuts at the end (UDP_SEGMENT, Linux 4.18): who asks much by few ports (a
 * mail server itself, a forwarder, a balancer) costs a fifth less, a resolver with a port a query the same. Where the
 * kernel or the way does not take that (an interface without checksums, a small MTU) they are sent one by one, and so
 * are those of the batches that follow for a while.
 *
 * What the kernel does not take is lost, as UDP may lose it. One thread uses it.
 */
#ifndef SC_DNSSEND_H
#define SC_DNSSEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "dnspeer.h"

enum {
    DNSSEND_MAX = 64,
    DNSSEND_CONTROL_BYTES = DNSPEER_CONTROL_BYTES + 24, /* and a segment's size with its header */
};

struct dnssend_reply {
    const struct dnspeer *peer;
    const uint8_t *data;
    uint16_t size;
    uint8_t next; /* to the same peer, of its size or shorter; DNSSEND_MAX: none */
};

struct dnssend {
    bool joins; /* dnssend_can_join */
    unsigned n, n_messages;
    unsigned n_plain; /* batches that are yet to be sent one by one */
    struct dnssend_reply replies[DNSSEND_MAX];
    struct mmsghdr messages[DNSSEND_MAX];
    struct iovec parts[DNSSEND_MAX]; /* of the messages, in their order */
    const struct dnspeer *peers[DNSSEND_MAX]; /* of the messages */
    _Alignas(8) uint8_t controls[DNSSEND_MAX][DNSSEND_CONTROL_BYTES];
};

/* Whether the kernel of a socket cuts datagrams; one that does not know of it would send them whole. */
bool dnssend_can_join(int fd);

/* At most DNSSEND_MAX; all to leave from one socket. */
void dnssend_add(struct dnssend *s, const struct dnspeer *peer, const uint8_t *reply, size_t size);

/* What became of them; none is left. */
struct dnssend_told {
    unsigned unsent;
    unsigned joined; /* left with others, as one datagram */
};
struct dnssend_told dnssend_all(struct dnssend *s, int fd);

#endif
