/* See dnssend.h. */
#include "dnssend.h"

#include <errno.h>
#include <poll.h>

enum { SEND_MS = 5 }; /* longest wait for room in a send buffer */

void dnssend_add(struct dnssend *s, const struct dnspeer *peer, const uint8_t *reply, size_t size)
{
    struct msghdr *h = &s->messages[s->n].msg_hdr;

    s->parts[s->n] = (struct iovec){.iov_base = (void *)reply, .iov_len = size};
    h->msg_iov = &s->parts[s->n];
    h->msg_iovlen = 1;
    dnspeer_address(peer, h);
    s->n++;
}

unsigned dnssend_all(struct dnssend *s, int fd)
{
    unsigned unsent = 0;

    for (unsigned done = 0; done < s->n;) {
        int sent = sendmmsg(fd, s->messages + done, s->n - done, MSG_DONTWAIT);

        if (sent > 0) {
            done += (unsigned)sent;
            continue;
        }
        struct pollfd room = {.fd = fd, .events = POLLOUT};
        if (errno == EINTR || (errno == EAGAIN && poll(&room, 1, SEND_MS) > 0))
            continue;
        unsent++;
        done++;
    }
    s->n = 0;
    return unsent;
}
