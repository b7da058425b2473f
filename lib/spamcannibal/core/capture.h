/* Frames of a capture file -> the IP packet inside. Pure and freestanding; every read is bounds-checked.
 *
 *   number        link type       header
 *   0, 108        NULL, LOOP      family, 4 bytes in the order of the host that captured, or of the network
 *   1             EN10MB          14 bytes, then any number of VLAN tags
 *   12, 14, 101   RAW             none
 *   228, 229      IPV4, IPV6      none
 *   113           LINUX_SLL       16 bytes, then VLAN tags
 *   276           LINUX_SLL2      20 bytes, then VLAN tags
 *
 * Source: the registry of link types, https://www.tcpdump.org/linktypes.html
 */
#ifndef SC_CAPTURE_H
#define SC_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum capture_kind {
    CAPTURE_IP,
    CAPTURE_OTHER, /* ARP and the like */
    CAPTURE_CUT,   /* ends within the headers of the link */
};

bool capture_is_known(unsigned link);

/* Tell what a frame of a known link type holds; of an IP packet, where it begins and how many bytes of it there are. */
enum capture_kind capture_strip(unsigned link, const uint8_t *frame, size_t size, const uint8_t **ip, size_t *ip_size);

#endif
