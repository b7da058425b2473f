/* The tarpit: what to answer to a packet of a listed source, without remembering anything.
 *
 * In: a decoded packet, its source's table value, the settings with a secret. Out: a verdict, perhaps a reply, an
 * event, and what that means for the connection's slot in the stutter timer (trap.h). Pure and freestanding.
 *
 * THEORY
 *
 * The mask.  M = SipHash(secret, family, addresses, ports), 32 bits of it. A SYN with initial number I is answered
 * with initial number I + M. So when the client has k bytes of ours and sends from its byte c (c = its bytes
 * before this segment; the SYN counts on both sides and cancels), its segment carries
 *
 *     seq = I + 1 + c        ack = I + M + 1 + k        d := ack - seq - M = k - c
 *
 * One hash tells where a connection stands, in O(1), after any restart that kept the secret, and only for
 * connections that took our SYN/ACK: a stray ACK of anything else has a random d, which falls in the ranges below
 * once in 10^8 (persist) or once in 4000 (stutter), and is dropped in silence. Nobody who has not seen our
 * SYN/ACK can forge a d, and answering a SYN costs no memory.
 *
 * What clients send at a closed window.
 *     Linux         empty ACK at snd_una - 1; only an ack >= snd_una counts as an answer (an older one leaves its
 *                   count of unanswered probes alone, and it gives up after 15). While answered it probes for ever,
 *                   at most 120 s apart. With data sent but not acknowledged and window 0 it retransmits instead,
 *                   as long as anything valid came in the last 240 s. It sends no FIN through a closed window.
 *     BSD, Windows  one byte at snd_una, accepted or not; an ACK with window 0 keeps them probing.
 *     keepalives    at snd_una - 1: empty (Linux, BSD) or with one garbage byte (Windows, old BSD).
 *
 * THROTTLE  SYN -> SYN/ACK with a small window, then silence.
 *
 * PERSIST   The greeting has G bytes and goes out whole, so k is 0 or G. Of the client's bytes exactly the first W
 * are accepted, and the window never shrinks: a segment that ends at byte r is acknowledged to min(r, W), and the
 * window is what remains. So whoever has more to say ends up at snd_una = W with the window closed. W is the
 * throttle window, held between 2 and G - 2 so that the two ranges of d stay apart.
 *
 *     d               k   c        payload      what it is                    reply: ack, window, payload
 *     0               0   0        none         handshake done                seq, W, greeting
 *     1               0   -1       0 or 1       keepalive, greeting lost      seq+1, W, greeting
 *     -W..0           0   0..W     some         talks before the greeting     seq+n, W-c-n, greeting
 *     1-W             0   W-1      none         Linux probe, greeting lost    seq+1, 0, greeting
 *     other -W..-1    0   1..W     none         plain ACK                     -
 *     G               G   0        none         has the greeting              -
 *     G+1             G   -1       0 or 1       keepalive                     seq+1, W
 *     G-W..G          G   0..W     some         data; probe where c = W       seq+n, W-c-n     n = min(payload, W-c)
 *     G-W+1           G   W-1      none         Linux probe                   seq+1, 0
 *     other G-W..G-1  G   1..W     none         plain ACK                     -
 *     anything else                             not ours                      -
 *
 * A client that has sent exactly W - 1 bytes and then sends a plain ACK looks like a Linux probe. Linux ignores the
 * answer; a stack that answers an ACK of unsent data (RFC 9293, 3.10.7.4) bounces with us once a round trip until
 * it gives up. That takes a first command of just that length from a client that does not wait for the greeting; it
 * is the price of having no state. Every other reply goes to what a timer or a user sent: nothing else can bounce.
 *
 * STUTTER   The window is 0 from the SYN/ACK on and nothing of the client's is ever accepted: c is 0, or -1 in
 * probes and keepalives, and d is k. A client that waits for its greeting notices nothing. (A window in the SYN/ACK
 * would let an early talker put bytes in flight, and all its ACKs would then carry them in seq, so in d.)
 * Our byte number k is a pure function of k: the line "220-..." over and over. Sending is the timer's business; its
 * slot knows the numbers of our first byte and of the client's, so with a slot nothing is ambiguous. Without one:
 *
 *     d        k   c    payload   what it is                        slot        reply
 *     0        0   0    none      handshake done                    arm at 0    timer full: greeting, window 0
 *     1..2^20  d   0    none      plain ACK                         arm at d    none
 *     G+1      G   -1   none      Linux probe after that greeting   arm at G    timer full: ack seq+1, window 0
 *     0..2^20  d   0    some      data or probe                     arm at d    ack seq, window 0
 *     anything else               not ours                          -           -
 *
 * The greeting has the length of the stream's line, so that a connection which got the greeting for want of a slot
 * goes on at the start of a line once there is one.
 *
 * ALL MODES  SYN+ACK -> RST at its ack (the original's habit; settable). RST and FIN -> silence, slot freed. SYN
 * with FIN, neither SYN nor ACK -> silence. Never a reply to RST, to or from multicast, broadcast, unspecified or
 * reserved addresses, or where source equals destination. A SYN's payload is not acknowledged.
 *
 * No options are sent, not even an MSS. Its absence makes the client assume 536 (1220), more than it may ever send
 * here; no window scaling keeps our windows what they say; no timestamps and no SACK keep every client's segments
 * 20-byte headed and its behaviour the plain one.
 */
#ifndef SC_TARPIT_H
#define SC_TARPIT_H

#include "packet.h"

/* The numbers of record.Mode. */
enum tp_mode { TP_DEFAULT, TP_THROTTLE, TP_PERSIST, TP_STUTTER, TP_DROP_MODE, TP_OBSERVE, TP_MODES };

/* Table value (record.table_value): bit 0 always, bits 1-3 mode, bit 5 excluded, bit 6 shadow. */
enum { TP_VALUE_MODE_SHIFT = 1, TP_VALUE_MODE_MASK = 7, TP_VALUE_EXCLUDED = 1 << 5, TP_VALUE_SHADOW = 1 << 6 };

enum { TP_LINE_MIN = 8, TP_LINE_MAX = 512, TP_STREAM_MAX = 1 << 20 };

enum tp_verdict { TP_ACCEPT, TP_DROP };

enum tp_event {
    TP_NONE,     /* not listed, or not ours to judge: ACCEPT */
    TP_OBSERVED, /* listed, let through by its mode: ACCEPT */
    TP_OTHER,    /* listed, not TCP: verdict by settings */
    TP_DROPPED,  /* listed, dropped in silence: mode drop, fragments, cut headers, addresses never answered */
    TP_TRAP,     /* SYN answered */
    TP_GREET,    /* the whole greeting sent */
    TP_ARM,      /* stutter: handshake done, the timer takes over */
    TP_DATA,     /* client's bytes accepted */
    TP_PROBE,    /* window probe or keepalive answered */
    TP_ACKED,    /* plain ACK of a connection of ours */
    TP_SYNACK,   /* stray SYN/ACK (reset, if so set) */
    TP_RST,
    TP_FIN,
    TP_STRAY,    /* belongs to no connection of ours, or makes no sense */
    TP_EVENTS
};

enum tp_slot {
    TP_SLOT_NONE,
    TP_SLOT_OPEN,  /* SYN answered with reply.seq: a slot of any other connection by these ports is void */
    TP_SLOT_ACKED, /* the client has k bytes: arm, or move on */
    TP_SLOT_FREE,  /* connection over */
};

struct tp_config {
    uint64_t secret[2];
    uint8_t mode; /* of listings with TP_DEFAULT; itself never TP_DEFAULT */
    bool other_protocols, loopback, answer_synack;
    uint16_t window;
    uint16_t line_len;             /* of greeting and line alike, TP_LINE_MIN..TP_LINE_MAX */
    uint8_t greeting[TP_LINE_MAX]; /* "220 ...\r\n", sent whole */
    uint8_t line[TP_LINE_MAX];     /* "220-...\r\n", the stream's period */
};

struct decision {
    uint8_t verdict; /* enum tp_verdict */
    uint8_t event;   /* enum tp_event */
    uint8_t slot;    /* enum tp_slot */
    uint8_t mode;    /* enum tp_mode in force, TP_DEFAULT if not listed */
    bool has_reply;
    bool spare_reply;   /* reply is for the case that there is no slot (trap_apply then sets has_reply) */
    uint32_t k;         /* TP_SLOT_ACKED: bytes the client has */
    uint32_t peer_seq;  /* TP_SLOT_ACKED: the client's next byte */
    struct reply reply; /* written if has_reply or spare_reply; its payload points into the config */
};

/* Judge one packet; value is the source's table value, 0 for none. Look the source up only if p->family is not 0. */
void tp_decide(const struct pkt *p, uint32_t value, const struct tp_config *cfg, struct decision *out);

/* Write a reply with the packet's addresses turned round, sent at the packet's ack, without payload. */
void tp_turn(const struct pkt *p, uint8_t flags, uint32_t ack, uint16_t window, struct reply *r);

/* The mask M of the packet's connection. */
uint32_t tp_mask(const struct pkt *p, const uint64_t secret[2]);

/* "TRAP" etc., as in event lines, and "stutter" etc., as in settings; "" for numbers out of range. */
const char *tp_event_name(unsigned event);
const char *tp_mode_name(unsigned mode);

#endif
