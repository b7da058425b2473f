/* Connections held by stutter: a bounded table by addresses and ports, in order of last sending.
 *
 * All memory is taken at creation: 88 bytes a slot and 4 to 8 of index. Look-ups are hashed with a key, since strangers
 * pick addresses and ports. Everything is linked by numbers; number 0 is nobody. No locks.
 */
#ifndef SC_SLOTS_H
#define SC_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn {
    uint8_t addr[32]; /* the client's 16 bytes, then ours; IPv4 in the first 4 of each, the rest 0 */
    uint16_t port[2]; /* likewise */
    uint8_t family;
    uint8_t unused; /* 0: keys are compared as bytes */
};

struct slot {
    uint64_t sent_ms;  /* last sending, or arming */
    uint32_t born_s;
    uint32_t base;     /* sequence number of our first byte */
    uint32_t peer_seq; /* the client's next byte */
    uint32_t k;        /* our bytes the client has */
    uint32_t chain, older, newer;
    int32_t ifindex;
    struct conn key;
    uint8_t mac_len; /* 6, or 0 where the link is not Ethernet */
    uint8_t mac[6];
    uint8_t unacked; /* sendings since the last progress */
    uint8_t unsure;  /* base and peer_seq were read from a packet that may have been a probe */
};

_Static_assert(sizeof(struct slot) <= 88, "a slot with its index stays within 96 bytes");

struct slots;

struct slots *slots_new(uint32_t limit, const uint64_t hash_key[2]); /* limit >= 1; NULL: no memory */
void slots_free(struct slots *s);
uint32_t slots_limit(const struct slots *s);
uint32_t slots_count(const struct slots *s);

struct slot *slots_find(const struct slots *s, const struct conn *key);
/* A slot for a key that is not there: zero but for key and times, last in order. NULL: all are taken. */
struct slot *slots_take(struct slots *s, const struct conn *key, uint64_t now_ms);
void slots_drop(struct slots *s, struct slot *slot);
/* Note a sending: the slot goes to the end. */
void slots_sent(struct slots *s, struct slot *slot, uint64_t now_ms);

struct slot *slots_oldest(const struct slots *s);
struct slot *slots_newer(const struct slots *s, const struct slot *slot);

/* A slot as bytes, times relative to now, and back; big-endian:
 *   0 family u8 | 1 mac_len u8 | 2 mac 6 | 8 ifindex u32 | 12 addresses 32 | 44 ports 2 x u16 | 48 base u32
 *  52 peer_seq u32 | 56 k u32 | 60 ms since sent u32 | 64 seconds held u32
 *  68 unacked u8 | 69 unsure u8 | 70 zero 2 */
enum { SLOT_BYTES = 72 };

void slots_pack(const struct slot *slot, uint64_t now_ms, uint8_t out[SLOT_BYTES]);
/* The slot taken, last in order; NULL: not a slot, a known key, or no room. */
struct slot *slots_unpack(struct slots *s, uint64_t now_ms, const uint8_t in[SLOT_BYTES]);

#endif
