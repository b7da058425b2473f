/* Fuzz decisions and the trap together: a packet's way through a loop, many times over, with the timer between.
 *
 * Input: mode, window and flags of the settings (4 bytes), then turns: what (1 byte), milliseconds passed (2), low
 * byte of the table value, length, and that many bytes: a packet to judge, or a dump to load.
 */
#include <stdlib.h>
#include <string.h>

#include "trap.h"

enum { SLOTS = 3, TURN_HEADER = 5, DUE = 8, TURNS_MAX = 64 };

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct trap_settings settings_of(const uint8_t in[4])
{
    struct trap_settings set = {
        .tp =
            {
                .secret = {1, 2},
                .mode = (uint8_t)(1 + in[0] % (TP_MODES - 1)),
                .other_protocols = in[3] & 1,
                .loopback = in[3] & 2,
                .answer_synack = in[3] & 4,
                .window = (uint16_t)(in[1] << 8 | in[2]),
                .line_len = (uint16_t)(TP_LINE_MIN + in[1] % (TP_LINE_MAX - TP_LINE_MIN + 1)),
            },
        .connections = SLOTS,
        .interval_ms = 1000,
        .unacked_limit = 1 + (in[3] >> 3 & 3),
        .bandwidth = in[3] & 128 ? 2000 : 0,
    };

    memset(set.tp.greeting, 'g', set.tp.line_len);
    memset(set.tp.line, 'l', set.tp.line_len);
    return set;
}

static void check_reply(const struct reply *r)
{
    uint8_t out[PKT_REPLY_MAX];
    struct pkt p;

    check(pkt_decode(out, pkt_build(r, out, sizeof out), true, &p) == PKT_TCP);
    check(p.family == 4 ? p.dst[0] != 0 && p.dst[0] < 224 : p.dst[0] != 0xff);
}

static void judge(struct trap *t, const struct tp_config *cfg, const uint8_t *in, size_t len, uint32_t value,
                  uint64_t now)
{
    const struct link_addr link = {.ifindex = 7, .mac_len = (uint8_t)(value % 8)};
    uint8_t *packet = malloc(len ? len : 1); /* its own block: a read past it is seen */
    struct decision d;
    struct pkt p;

    if (!packet)
        return;
    memcpy(packet, in, len);
    pkt_decode(packet, len, false, &p);
    tp_decide(&p, value, cfg, &d);
    check(d.verdict == TP_ACCEPT || d.verdict == TP_DROP);
    check(*tp_event_name(d.event) && *tp_mode_name(d.mode));
    if (d.event != TP_NONE)
        trap_apply(t, &p, &d, &link, now);
    check(value != 0 || d.event == TP_NONE);
    check(!d.has_reply || (d.verdict == TP_DROP && p.kind == PKT_TCP && !(p.flags & PKT_RST)));
    if (d.has_reply)
        check_reply(&d.reply);
    free(packet);
}

static void turn_timer(struct trap *t, const struct tp_config *cfg, uint64_t now)
{
    struct trap_byte due[DUE];
    struct trap_stats stats;
    const size_t n = trap_due(t, cfg, now, due, DUE);

    check(n <= SLOTS);
    for (size_t i = 0; i < n; i++)
        check_reply(&due[i].reply);
    trap_stats(t, now, &stats);
    check(stats.held <= SLOTS && (stats.held == 0) == (trap_next_due(t) == UINT64_MAX));
}

static void reload(struct trap *t, uint64_t now)
{
    uint8_t dump[24 + SLOTS * 72];
    struct trap_stats stats;
    const size_t len = trap_dump(t, now, dump, sizeof dump);

    check(len <= sizeof dump);
    trap_stats(t, now, &stats);
    check(trap_load(t, now, dump, len) == (int64_t)stats.held);
}

static void play(struct trap *t, const uint8_t *in, size_t size)
{
    struct tp_config cfg;
    uint64_t now = 0;

    for (unsigned turn = 0; turn < TURNS_MAX && size >= TURN_HEADER; turn++) {
        const size_t rest = size - TURN_HEADER, len = in[4] < rest ? in[4] : rest;

        now += (uint64_t)(in[1] << 8 | in[2]);
        trap_config(t, &cfg);
        if (in[0] % 16 == 0)
            reload(t, now);
        else if (in[0] % 16 == 1)
            trap_load(t, now, in + TURN_HEADER, len);
        else
            judge(t, &cfg, in + TURN_HEADER, len, in[3], now);
        turn_timer(t, &cfg, now);
        in += TURN_HEADER + len;
        size -= TURN_HEADER + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trap *t = size >= 4 ? trap_new(SLOTS) : NULL;

    if (!t)
        return 0;
    const struct trap_settings set = settings_of(data);
    trap_configure(t, &set);
    play(t, data + 4, size - 4);
    trap_free(t);
    return 0;
}
