/* Response rate limiting for UDP: how many equal replies, and how many at all, a network may get in a second.
 *
 * Whoever forges a victim's address makes us send to the victim. So replies are counted by the network they go to (IPv4
 * /24, IPv6 /56) and by class (rcode, type and name; of an error the rcode alone); those past the limit are dropped,
 * but for every slip-th, which is to be sent cut short: a client that is really there asks again over TCP.
 *
 * A bucket is the time at which all that was sent would have been sent at the allowed rate (GCRA), with one second of
 * burst. The table is of fixed size, in sets of four; where a set is full the bucket with the least debt makes room, so
 * that a flood from many networks can make the limiter forget, never grow. Keyed by SipHash-1-3 with a secret of its
 * own: nobody can aim at a set. Any thread may call; times are of the monotonic clock.
 */
#ifndef SC_RRL_H
#define SC_RRL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RRL_V4_BITS = 24, RRL_V6_BITS = 56, RRL_EXEMPT_MAX = 64 };

enum rrl_verdict { RRL_SEND, RRL_SLIP, RRL_DROP };

struct rrl_settings {
    uint32_t per_s, all_per_s; /* 0: no limit */
    uint32_t slip;             /* 0: none */
    uint32_t buckets;          /* rounded up to a power of two */
};

struct rrl;

/* NULL with errno. */
struct rrl *rrl_new(const struct rrl_settings *settings);
void rrl_free(struct rrl *r);

/* Never limit a network; before threads are there. 0, or -1 when there are too many. */
int rrl_exempt(struct rrl *r, const uint8_t *addr, unsigned addrlen, unsigned plen);

/* A reply that is to go: to whom, what it says, and what rrl_judge found. */
struct rrl_reply {
    const uint8_t *addr, *name; /* name: what was asked for, in lower case */
    uint8_t addrlen, name_size; /* no name: of an error, whose rcode alone makes it equal to others */
    uint8_t rcode;
    bool is_free; /* not to be limited */
    uint16_t qtype;
    enum rrl_verdict verdict;
    uint64_t buckets[2]; /* rrl.c */
};

/* Judge n replies in their order, together so that their memory accesses overlap; `now_ns` of the monotonic clock. */
void rrl_judge(struct rrl *r, struct rrl_reply *replies, size_t n, uint64_t now_ns);

#endif
