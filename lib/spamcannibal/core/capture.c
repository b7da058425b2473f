/* See capture.h. */
#include "capture.h"

enum { LINK_NULL = 0, LINK_ETHERNET = 1, LINK_LOOP = 108, LINK_SLL = 113, LINK_SLL2 = 276 };
enum { ETHER_V4 = 0x0800, ETHER_V6 = 0x86dd, ETHER_VLAN = 0x8100, ETHER_QINQ = 0x88a8, ETHER_QINQ_OLD = 0x9100 };
enum { VLANS_MAX = 8 };

static bool is_raw(unsigned link)
{
    return link == 12 || link == 14 || link == 101 || link == 228 || link == 229;
}

bool capture_is_known(unsigned link)
{
    return is_raw(link) || link == LINK_NULL || link == LINK_ETHERNET || link == LINK_LOOP || link == LINK_SLL ||
           link == LINK_SLL2;
}

/* The families of IP, by the numbers that systems give them: Linux 10, BSDs 24, FreeBSD 28, macOS 30. */
static bool is_ip_family(uint32_t family)
{
    return family == 2 || family == 10 || family == 24 || family == 28 || family == 30;
}

static bool is_loopback_ip(const uint8_t *p)
{
    const uint32_t big = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    const uint32_t little = (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];

    return is_ip_family(big) || is_ip_family(little);
}

/* From the type that stands at `at`, over VLAN tags, to what follows at *next. */
static enum capture_kind walk_types(const uint8_t *frame, size_t size, size_t at, size_t *next)
{
    for (unsigned i = 0; i <= VLANS_MAX; i++) {
        if (size < *next)
            return CAPTURE_CUT;
        const unsigned type = (unsigned)(frame[at] << 8 | frame[at + 1]);

        if (type == ETHER_V4 || type == ETHER_V6)
            return CAPTURE_IP;
        if (type != ETHER_VLAN && type != ETHER_QINQ && type != ETHER_QINQ_OLD)
            return CAPTURE_OTHER;
        at = *next + 2;
        *next += 4;
    }
    return CAPTURE_OTHER;
}

enum capture_kind capture_strip(unsigned link, const uint8_t *frame, size_t size, const uint8_t **ip, size_t *ip_size)
{
    enum capture_kind kind = CAPTURE_IP;
    size_t next = 0;

    if (link == LINK_ETHERNET) {
        next = 14;
        kind = walk_types(frame, size, 12, &next);
    } else if (link == LINK_SLL) {
        next = 16;
        kind = walk_types(frame, size, 14, &next);
    } else if (link == LINK_SLL2) {
        next = 20;
        kind = walk_types(frame, size, 0, &next);
    } else if (link == LINK_NULL || link == LINK_LOOP) {
        next = 4;
        kind = size < 4 ? CAPTURE_CUT : is_loopback_ip(frame) ? CAPTURE_IP : CAPTURE_OTHER;
    }
    if (kind != CAPTURE_IP)
        return kind;
    if (size <= next)
        return CAPTURE_CUT;
    *ip = frame + next;
    *ip_size = size - next;
    return CAPTURE_IP;
}
