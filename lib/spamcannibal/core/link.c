/* See link.h. */
#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 128, SEND_BUFFER_BYTES = 4 << 20, MAC_BYTES = 6 };
enum { ETHERNET, RAW4, RAW6, CHANNELS };

union address {
    struct sockaddr_ll ethernet;
    struct sockaddr_in raw4;
    struct sockaddr_in6 raw6;
};

struct channel {
    int fd;
    unsigned waiting;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    union address addresses[BATCH];
    uint8_t packets[BATCH][LINK_PACKET_BYTES];
};

struct links {
    struct link_counts counts;
    struct channel channels[CHANNELS];
};

static void prepare(struct channel *c)
{
    for (int i = 0; i < BATCH; i++) {
        c->parts[i].iov_base = c->packets[i];
        c->messages[i].msg_hdr.msg_name = &c->addresses[i];
        c->messages[i].msg_hdr.msg_iov = &c->parts[i];
        c->messages[i].msg_hdr.msg_iovlen = 1;
    }
}

static int open_socket(int family, int type, int protocol)
{
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    int size = SEND_BUFFER_BYTES, mark = LINK_MARK;

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size); /* as much as we may have */
    if (family != AF_PACKET && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

struct links *links_open(void)
{
    struct links *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    for (int i = 0; i < CHANNELS; i++)
        prepare(&l->channels[i]);
    /* Protocol 0: such a socket receives nothing. IPPROTO_RAW: we write the IP header, and receive nothing. */
    l->channels[ETHERNET].fd = open_socket(AF_PACKET, SOCK_DGRAM, 0);
    l->channels[RAW4].fd = open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    l->channels[RAW6].fd = open_socket(AF_INET6, SOCK_RAW, IPPROTO_RAW); /* a host without IPv6 has no such peers */
    if (l->channels[ETHERNET].fd < 0 || l->channels[RAW4].fd < 0) {
        int error = errno;
        links_close(l);
        errno = error;
        return NULL;
    }
    return l;
}

void links_close(struct links *l)
{
    if (!l)
        return;
    for (int i = 0; i < CHANNELS; i++)
        if (l->channels[i].fd >= 0)
            close(l->channels[i].fd);
    free(l);
}

static bool is_ethernet(const struct link_addr *peer)
{
    static const uint8_t none[MAC_BYTES]; /* what loopback calls its address */
    return peer->ifindex != 0 && peer->mac_len == MAC_BYTES && memcmp(peer->mac, none, MAC_BYTES) != 0;
}

static struct channel *channel_to(struct links *l, const struct link_addr *peer, unsigned family)
{
    if (is_ethernet(peer))
        return &l->channels[ETHERNET];
    return &l->channels[family == 4 ? RAW4 : RAW6];
}

/* A packet that the kernel refuses is counted and passed over; the rest still goes. */
static void flush_channel(struct links *l, struct channel *c)
{
    unsigned done = 0;
    while (done < c->waiting) {
        int sent = sendmmsg(c->fd, c->messages + done, c->waiting - done, MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        /* One refusal concerns one packet, but a full buffer all that follow. */
        unsigned passed = sent > 0 ? (unsigned)sent : errno == EAGAIN ? c->waiting - done : 1;
        if (sent > 0)
            l->counts.sent += passed;
        else
            l->counts.failed += passed;
        done += passed;
    }
    c->waiting = 0;
}

uint8_t *links_room(struct links *l, const struct link_addr *peer, unsigned family)
{
    struct channel *c = channel_to(l, peer, family);
    if (c->waiting == BATCH)
        flush_channel(l, c);
    return c->packets[c->waiting];
}

static socklen_t set_ethernet(struct sockaddr_ll *to, const struct link_addr *peer, unsigned family)
{
    *to = (struct sockaddr_ll){
        .sll_family = AF_PACKET,
        .sll_protocol = htons(family == 4 ? ETHERTYPE_IP : ETHERTYPE_IPV6),
        .sll_ifindex = peer->ifindex,
        .sll_halen = MAC_BYTES,
    };
    memcpy(to->sll_addr, peer->mac, MAC_BYTES);
    return sizeof *to;
}

static socklen_t set_raw4(struct sockaddr_in *to, const uint8_t *packet)
{
    *to = (struct sockaddr_in){.sin_family = AF_INET};
    memcpy(&to->sin_addr, packet + 16, 4);
    return sizeof *to;
}

static socklen_t set_raw6(struct sockaddr_in6 *to, const uint8_t *packet, int32_t ifindex)
{
    *to = (struct sockaddr_in6){.sin6_family = AF_INET6};
    memcpy(&to->sin6_addr, packet + 24, 16);
    if (IN6_IS_ADDR_LINKLOCAL(&to->sin6_addr))
        to->sin6_scope_id = (uint32_t)ifindex;
    return sizeof *to;
}

void links_add(struct links *l, const struct link_addr *peer, unsigned family, size_t len)
{
    struct channel *c = channel_to(l, peer, family);
    unsigned i = c->waiting++;
    union address *to = &c->addresses[i];
    socklen_t size;

    if (c == &l->channels[ETHERNET])
        size = set_ethernet(&to->ethernet, peer, family);
    else if (family == 4)
        size = set_raw4(&to->raw4, c->packets[i]);
    else
        size = set_raw6(&to->raw6, c->packets[i], peer->ifindex);
    c->messages[i].msg_hdr.msg_namelen = size;
    c->parts[i].iov_len = len;
}

void links_flush(struct links *l)
{
    for (int i = 0; i < CHANNELS; i++)
        if (l->channels[i].waiting)
            flush_channel(l, &l->channels[i]);
}

const struct link_counts *links_counts(const struct links *l) { return &l->counts; }
