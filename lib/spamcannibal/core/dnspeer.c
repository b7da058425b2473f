/* See dnspeer.h. */
#include "dnspeer.h"

#include <netinet/in.h>
#include <string.h>

_Static_assert(sizeof(struct sockaddr_in6) == DNSPEER_NAME_BYTES, "room for any address");
_Static_assert(CMSG_SPACE(sizeof(struct in6_pktinfo)) == DNSPEER_CONTROL_BYTES, "room for our address");

bool dnspeer_is_wildcard(int fd)
{
    int v4 = 0, v6 = 0;
    socklen_t size = sizeof v4;

    getsockopt(fd, IPPROTO_IP, IP_PKTINFO, &v4, &size);
    size = sizeof v6;
    getsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &v6, &size);
    return v4 || v6;
}

/* Make of where a datagram came to what lets the reply leave from there. Routing chooses the way back, which need not
 * be the one that the query came, but for link-local ones. */
static void turn_control(struct cmsghdr *c)
{
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;

        memcpy(&info, CMSG_DATA(c), sizeof info);
        info.ipi_ifindex = 0;
        info.ipi_addr.s_addr = 0;
        memcpy(CMSG_DATA(c), &info, sizeof info);
    }
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;

        memcpy(&info, CMSG_DATA(c), sizeof info);
        if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
            info.ipi6_ifindex = 0;
        memcpy(CMSG_DATA(c), &info, sizeof info);
    }
}

void dnspeer_expect(struct dnspeer *peer, struct msghdr *h, bool is_wildcard)
{
    h->msg_name = peer->name;
    h->msg_namelen = sizeof peer->name;
    h->msg_control = is_wildcard ? peer->control : NULL;
    h->msg_controllen = is_wildcard ? sizeof peer->control : 0;
}

void dnspeer_note(struct dnspeer *peer, struct msghdr *h)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(h);

    peer->name_size = (uint8_t)h->msg_namelen;
    peer->control_size = (uint8_t)h->msg_controllen;
    if (c)
        turn_control(c);
}

void dnspeer_address(const struct dnspeer *peer, struct msghdr *h)
{
    h->msg_name = (void *)peer->name;
    h->msg_namelen = peer->name_size;
    h->msg_control = peer->control_size ? (void *)peer->control : NULL;
    h->msg_controllen = peer->control_size;
}

bool dnspeer_is_same(const struct dnspeer *a, const struct dnspeer *b)
{
    return a->name_size == b->name_size && a->control_size == b->control_size &&
           memcmp(a->name, b->name, a->name_size) == 0 && memcmp(a->control, b->control, a->control_size) == 0;
}

unsigned dnspeer_addr(const struct dnspeer *peer, uint8_t addr[16])
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (peer->name_size == sizeof v4) {
        memcpy(&v4, peer->name, sizeof v4);
        memcpy(addr, &v4.sin_addr, 4);
        return 4;
    }
    if (peer->name_size != sizeof v6)
        return 0;
    memcpy(&v6, peer->name, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) { /* a socket for both families */
        memcpy(addr, v6.sin6_addr.s6_addr + 12, 4);
        return 4;
    }
    memcpy(addr, &v6.sin6_addr, 16);
    return 16;
}
