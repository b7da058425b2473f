/* The trap: who is held by stutter, when each gets its next byte, and what all replies may cost.
 *
 * In: decisions (tarpit.h) of any number of loops, time in milliseconds of a monotonic clock. Out: the same decisions,
 * with the reply allowed, refused or corrected; due bytes with the link to send them by; statistics. One mutex;
 * memory is taken once.
 *
 * A slot holds what the packets alone leave ambiguous: the sequence numbers of our first byte and of the client's. All
 * slots wait the same interval, so one list in order of last sending is the timer: the due ones are at its head,
 * whatever the interval is set to meanwhile. What is sent is always the first byte not acknowledged; after
 * unacked_limit sendings without progress the slot is given up. That also ends the slots of sources that are no
 * longer listed, or whose mode has changed: nobody reports their ACKs any more.
 *
 * A loop's turn:
 *     trap_config(t, &cfg);                           once a batch; replies point into cfg
 *     tp_decide(&pkt, value, &cfg, &dec);
 *     trap_apply(t, &pkt, &dec, &link, now);          for every event but TP_NONE; then send dec.reply if dec.has_reply
 *     n = trap_due(t, &cfg, now, out, max);           by any loop: each due byte comes out once
 *     wait until trap_next_due(t)
 *
 * Bandwidth: a bucket of one second's bytes (at least 1024). A reply to a SYN or SYN/ACK is only paid out of its
 * upper three quarters, so that those held already come first. A refused byte of stutter loses its turn, not its
 * slot. A decision whose reply was refused becomes TP_DROPPED.
 */
#ifndef SC_TRAP_H
#define SC_TRAP_H

#include "tarpit.h"

struct link_addr {
    int32_t ifindex; /* where the packet came in, so where replies go out */
    uint8_t mac_len; /* 6, or 0 where the link is not Ethernet */
    uint8_t mac[6];
};

struct trap_settings {
    struct tp_config tp;
    uint32_t connections;   /* more than there are slots means all of them */
    uint32_t interval_ms;   /* >= 1 */
    uint32_t unacked_limit; /* 1..255 */
    uint64_t bandwidth;     /* bytes a second, 0: no cap */
};

struct trap_byte {
    struct reply reply;
    struct link_addr link;
};

struct trap_stats {
    uint64_t held;         /* connections in slots now */
    uint64_t held_s;       /* seconds in slots, of all connections so far */
    uint64_t armed;        /* slots ever taken */
    uint64_t sent_bytes;   /* bytes of stutter sent, repeats included */
    uint64_t acked_bytes;  /* and taken by clients */
    uint64_t bytes_in;     /* IP bytes of the packets of listed sources */
    uint64_t bytes_out;    /* IP bytes of all replies */
    uint64_t shed_new;     /* SYNs and SYN/ACKs not answered for want of bandwidth */
    uint64_t shed_held;    /* other replies and bytes of stutter not sent for want of bandwidth */
    uint64_t shed_slots;   /* handshakes that found no slot, and got the greeting instead */
    uint64_t given_up;     /* slots freed for want of ACKs */
    uint64_t trapped[TP_MODES]; /* SYNs answered, by mode */
    uint64_t events[TP_EVENTS];
};

struct trap;

/* NULL: no memory, or no random numbers. slots >= 1. trap_configure comes before all else. */
struct trap *trap_new(uint32_t slots);
void trap_free(struct trap *t);
uint32_t trap_slots(const struct trap *t);

/* The settings, and what loops need of them. Values must be in range: the caller has checked them. */
void trap_configure(struct trap *t, const struct trap_settings *s);
void trap_config(struct trap *t, struct tp_config *out);

void trap_apply(struct trap *t, const struct pkt *p, struct decision *d, const struct link_addr *link,
                uint64_t now_ms);
size_t trap_due(struct trap *t, const struct tp_config *cfg, uint64_t now_ms, struct trap_byte out[], size_t max);
uint64_t trap_next_due(struct trap *t); /* milliseconds on the same clock; UINT64_MAX: nothing waits */

void trap_stats(struct trap *t, uint64_t now_ms, struct trap_stats *out);

/* Slots and secret as bytes, for a restart: "SCTRAP" | version u16 = 1 | secret 16 | slots (slots.h), oldest first.
 * trap_dump gives the length and writes if cap suffices. trap_load replaces what is held and takes over the
 * dump's secret, so it comes after trap_configure; the number of slots held, or -1 and no change if it is no dump.
 * Old positions do no harm: the client's next ACK corrects them. */
size_t trap_dump(struct trap *t, uint64_t now_ms, uint8_t *out, size_t cap);
int64_t trap_load(struct trap *t, uint64_t now_ms, const uint8_t *in, size_t len);

#endif
