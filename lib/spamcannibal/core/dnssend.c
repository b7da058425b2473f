/* See dnssend.h. In the order of understanding: replies by peer, messages of them, sending. */
#include "dnssend.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>

enum {
    NONE = DNSSEND_MAX,
    SLOTS = 256,          /* of peers, by a hash */
    SEGMENT_BYTES = 1232, /* what fits every path unfragmented */
    SEGMENTS = 64,        /* UDP_MAX_SEGMENTS of old kernels */
    MESSAGE_BYTES = 65000,
    PLAIN_BATCHES = 4096,
    SEND_MS = 5,          /* longest wait for room in a send buffer */
};

_Static_assert((int)DNSSEND_MAX <= (int)SEGMENTS && (int)DNSSEND_MAX < UINT8_MAX, "a batch may go as one message");
_Static_assert(CMSG_SPACE(sizeof(uint16_t)) == DNSSEND_CONTROL_BYTES - DNSPEER_CONTROL_BYTES, "room for a size");

bool dnssend_can_join(int fd)
{
    int size;
    socklen_t len = sizeof size;

    return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &len) == 0;
}

void dnssend_add(struct dnssend *s, const struct dnspeer *peer, const uint8_t *reply, size_t size)
{
    s->replies[s->n++] = (struct dnssend_reply){.peer = peer, .data = reply, .size = (uint16_t)size, .next = NONE};
}

/* ---- replies by peer ---- */

/* Where a peer's chain may start; ports differ most. Who aims at one slot has his own replies sent one by one. */
static unsigned slot_of(const struct dnspeer *peer)
{
    uint64_t words[2];

    memcpy(words, peer->name, sizeof words); /* family, port, and addresses or a part of them */
    return (unsigned)(((words[0] ^ words[1]) * 0x9e3779b97f4a7c15u) >> 56);
}

/* Put a reply into a chain, the longest first; the chain's new start. */
static uint8_t insert(struct dnssend *s, uint8_t first, uint8_t reply)
{
    uint8_t *at = &first;

    while (*at != NONE && s->replies[*at].size > s->replies[reply].size)
        at = &s->replies[*at].next;
    s->replies[reply].next = *at;
    *at = reply;
    return first;
}

/* Chain the replies of each peer; the starts and their number. One that finds another peer in its slot starts anew. */
static unsigned chain(struct dnssend *s, uint8_t firsts[DNSSEND_MAX])
{
    uint8_t slots[SLOTS]; /* which of `firsts`, + 1 */
    unsigned n = 0;

    memset(slots, 0, sizeof slots);
    for (unsigned i = 0; i < s->n; i++) {
        uint8_t *slot = &slots[slot_of(s->replies[i].peer)];

        if (*slot && dnspeer_is_same(s->replies[firsts[*slot - 1]].peer, s->replies[i].peer)) {
            firsts[*slot - 1] = insert(s, firsts[*slot - 1], (uint8_t)i);
            continue;
        }
        firsts[n] = (uint8_t)i;
        *slot = (uint8_t)++n;
    }
    return n;
}

/* ---- messages ---- */

static struct msghdr *add_message(struct dnssend *s, const struct dnspeer *peer, struct iovec *parts, size_t n)
{
    struct msghdr *h = &s->messages[s->n_messages].msg_hdr;

    s->peers[s->n_messages++] = peer;
    h->msg_iov = parts;
    h->msg_iovlen = n;
    dnspeer_address(peer, h);
    return h;
}

/* Say into how long pieces the kernel is to cut a message, beside what its header says already. */
static void add_size(struct msghdr *h, uint8_t control[DNSSEND_CONTROL_BYTES], uint16_t size)
{
    size_t at = CMSG_ALIGN(h->msg_controllen);
    struct cmsghdr *c = (struct cmsghdr *)(void *)(control + at);

    if (h->msg_controllen)
        memcpy(control, h->msg_control, h->msg_controllen);
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
    h->msg_control = control;
    h->msg_controllen = at + CMSG_SPACE(sizeof size);
}

/* Make a message of a chain's start: replies of one size and a shorter one that ends it. What is left of the chain. */
static uint8_t take(struct dnssend *s, uint8_t at, struct iovec *parts)
{
    const struct dnssend_reply *first = &s->replies[at], *r = first;
    size_t n = 0, bytes = 0;

    for (;;) {
        parts[n++] = (struct iovec){.iov_base = (void *)r->data, .iov_len = r->size};
        bytes += r->size;
        at = r->next;
        if (at == NONE || r->size < first->size || first->size > SEGMENT_BYTES)
            break;
        r = &s->replies[at];
        if (bytes + r->size > MESSAGE_BYTES)
            break;
    }
    struct msghdr *h = add_message(s, first->peer, parts, n);
    if (n > 1)
        add_size(h, s->controls[s->n_messages - 1], first->size);
    return at;
}

static unsigned parts_of(const struct dnssend *s, unsigned message)
{
    return (unsigned)s->messages[message].msg_hdr.msg_iovlen;
}

static void make_messages(struct dnssend *s)
{
    uint8_t firsts[DNSSEND_MAX];
    unsigned n = chain(s, firsts), n_parts = 0;

    s->n_messages = 0;
    for (unsigned i = 0; i < n; i++)
        for (uint8_t at = firsts[i]; at != NONE;) {
            at = take(s, at, s->parts + n_parts);
            n_parts += parts_of(s, s->n_messages - 1);
        }
}

static void make_plain_messages(struct dnssend *s)
{
    s->n_messages = 0;
    for (unsigned i = 0; i < s->n; i++) {
        s->parts[i] = (struct iovec){.iov_base = (void *)s->replies[i].data, .iov_len = s->replies[i].size};
        add_message(s, s->replies[i].peer, &s->parts[i], 1);
    }
}

/* ---- sending ---- */

/* Whether it is worth to try again after a failure. */
static bool is_room(int fd, int error)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};

    return error == EINTR || (error == EAGAIN && poll(&room, 1, SEND_MS) > 0);
}

/* Send the parts of a message one by one; if that goes, those of all messages for a while. How many were not sent. */
static unsigned send_parts(struct dnssend *s, int fd, unsigned message)
{
    const struct msghdr *all = &s->messages[message].msg_hdr;
    unsigned unsent = 0;

    for (size_t i = 0; i < all->msg_iovlen; i++) {
        struct msghdr h = {.msg_iov = &all->msg_iov[i], .msg_iovlen = 1};

        dnspeer_address(s->peers[message], &h);
        while (sendmsg(fd, &h, MSG_DONTWAIT) < 0)
            if (!is_room(fd, errno)) {
                unsent++;
                break;
            }
    }
    if (unsent < all->msg_iovlen)
        s->n_plain = PLAIN_BATCHES;
    return unsent;
}

static struct dnssend_told send_messages(struct dnssend *s, int fd)
{
    struct dnssend_told told = {0};

    for (unsigned done = 0; done < s->n_messages;) {
        int sent = sendmmsg(fd, s->messages + done, s->n_messages - done, MSG_DONTWAIT);
        unsigned end = done + (unsigned)(sent > 0 ? sent : 0);

        for (; done < end; done++)
            told.joined += parts_of(s, done) > 1 ? parts_of(s, done) : 0;
        if (sent > 0 || is_room(fd, errno))
            continue;
        told.unsent += parts_of(s, done) > 1 ? send_parts(s, fd, done) : 1;
        done++;
    }
    return told;
}

struct dnssend_told dnssend_all(struct dnssend *s, int fd)
{
    if (s->joins && !s->n_plain)
        make_messages(s);
    else
        make_plain_messages(s);
    s->n_plain -= s->n_plain > 0;
    struct dnssend_told told = send_messages(s, fd);
    s->n = 0;
    return told;
}
