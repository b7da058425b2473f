/* The replies of a batch on their way out: all in one system call.
 *
 *   dnssend_add ... dnssend_all        replies and peers are borrowed in between
 *
 * What the kernel does not take is lost, as UDP may lose it. One thread uses it.
 */
#ifndef SC_DNSSEND_H
#define SC_DNSSEND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "dnspeer.h"

enum { DNSSEND_MAX = 64 };

struct dnssend {
    unsigned n;
    struct mmsghdr messages[DNSSEND_MAX];
    struct iovec parts[DNSSEND_MAX];
};

/* At most DNSSEND_MAX; all to leave from one socket. */
void dnssend_add(struct dnssend *s, const struct dnspeer *peer, const uint8_t *reply, size_t size);

/* How many were not sent; none is left. */
unsigned dnssend_all(struct dnssend *s, int fd);

#endif
