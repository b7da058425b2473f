/* The reply engine; its theory and its tables are in tarpit.h. */
#include "tarpit.h"

#include "siphash.h"

const char *tp_event_name(unsigned event)
{
    static const char *const names[TP_EVENTS] = {
        [TP_NONE] = "NONE",   [TP_OBSERVED] = "OBSERVED", [TP_OTHER] = "OTHER", [TP_DROPPED] = "DROPPED",
        [TP_TRAP] = "TRAP",   [TP_GREET] = "GREET",       [TP_ARM] = "ARM",     [TP_DATA] = "DATA",
        [TP_PROBE] = "PROBE", [TP_ACKED] = "ACKED",       [TP_RST] = "RST",     [TP_FIN] = "FIN",
        [TP_STRAY] = "STRAY", [TP_SYNACK] = "SYNACK",
    };

    return event < TP_EVENTS ? names[event] : "";
}

const char *tp_mode_name(unsigned mode)
{
    static const char *const names[TP_MODES] = {"default", "throttle", "persist", "stutter", "drop", "observe"};

    return mode < TP_MODES ? names[mode] : "";
}

static bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static bool is_loopback(const struct pkt *p)
{
    static const uint8_t v6[16] = {[15] = 1};

    return p->family == 4 ? p->src[0] == 127 : same(p->src, v6, 16);
}

/* Loopback gets here only if so configured; there, one address on both ends is what clients have. */
static bool is_answerable(const struct pkt *p)
{
    if (!pkt_is_unicast(p->family, p->src) || !pkt_is_unicast(p->family, p->dst))
        return false;
    return !same(p->src, p->dst, 16) || (is_loopback(p) && p->sport != p->dport);
}

uint32_t tp_mask(const struct pkt *p, const uint64_t secret[2])
{
    size_t addrlen = p->family == 4 ? 4 : 16, n = 0;
    uint8_t in[1 + 16 + 16 + 4];

    in[n++] = p->family;
    for (size_t i = 0; i < addrlen; i++)
        in[n++] = p->src[i];
    for (size_t i = 0; i < addrlen; i++)
        in[n++] = p->dst[i];
    in[n++] = (uint8_t)(p->sport >> 8);
    in[n++] = (uint8_t)p->sport;
    in[n++] = (uint8_t)(p->dport >> 8);
    in[n++] = (uint8_t)p->dport;
    return (uint32_t)siphash24(secret, in, n);
}

void tp_turn(const struct pkt *p, uint8_t flags, uint32_t ack, uint16_t window, struct reply *r)
{
    *r = (struct reply){
        .family = p->family,
        .flags = flags,
        .sport = p->dport,
        .dport = p->sport,
        .seq = p->ack,
        .ack = ack,
        .window = window,
    };
    for (size_t i = 0; i < 16; i++) {
        r->src[i] = p->dst[i];
        r->dst[i] = p->src[i];
    }
}

static void add_greeting(const struct tp_config *cfg, struct reply *r)
{
    r->flags |= PKT_PSH;
    r->payload = cfg->greeting;
    r->payload_len = cfg->line_len;
}

/* The W of the theory. */
static uint16_t persist_window(const struct tp_config *cfg)
{
    uint16_t most = (uint16_t)(cfg->line_len - 2);

    if (cfg->window < 2)
        return 2;
    return cfg->window < most ? cfg->window : most;
}

static void open_trap(const struct pkt *p, const struct tp_config *cfg, struct decision *out)
{
    uint16_t window = cfg->window;

    if (out->mode == TP_PERSIST)
        window = persist_window(cfg);
    else if (out->mode == TP_STUTTER)
        window = 0;
    tp_turn(p, PKT_SYN | PKT_ACK, p->seq + 1, window, &out->reply);
    out->reply.seq = p->seq + tp_mask(p, cfg->secret);
    out->has_reply = true;
    out->event = TP_TRAP;
    out->slot = TP_SLOT_OPEN;
}

/* d is signed here; 64 bits so that no sum of it can overflow. r is where the client's bytes end after this reply. */
static void persist(const struct pkt *p, const struct tp_config *cfg, int64_t d, struct decision *out)
{
    const int64_t w = persist_window(cfg), len = p->payload_len;
    const bool greeted = d >= cfg->line_len - w;
    const int64_t c = (greeted ? cfg->line_len : 0) - d;

    if (c < -1 || c > w) {
        out->event = TP_STRAY;
        return;
    }
    const bool probe = len == 0 && (c == -1 || c == w - 1);
    if (len == 0 && !probe && (greeted || c != 0)) {
        out->event = TP_ACKED;
        return;
    }
    const int64_t end = c + (probe ? 1 : len), r = end < w ? end : w;

    tp_turn(p, PKT_ACK, p->seq + (uint32_t)(r - c), (uint16_t)(w - r), &out->reply);
    if (!greeted)
        add_greeting(cfg, &out->reply);
    out->has_reply = true;
    if (len > 0 && r > c && r > 0)
        out->event = TP_DATA;
    else
        out->event = greeted ? TP_PROBE : TP_GREET;
}

static void stutter(const struct pkt *p, const struct tp_config *cfg, uint32_t d, struct decision *out)
{
    if (d > TP_STREAM_MAX) {
        out->event = TP_STRAY;
        return;
    }
    out->slot = TP_SLOT_ACKED;
    out->k = d;
    out->peer_seq = p->seq;
    if (p->payload_len > 0) {
        out->event = TP_PROBE;
        out->has_reply = true;
        tp_turn(p, PKT_ACK, p->seq, 0, &out->reply);
        return;
    }
    out->event = d == 0 ? TP_ARM : TP_ACKED;
    if (d == 0) {
        tp_turn(p, PKT_ACK, p->seq, 0, &out->reply);
        add_greeting(cfg, &out->reply);
        out->spare_reply = true;
    } else if (d == cfg->line_len + 1u) {
        out->k = cfg->line_len;
        out->peer_seq = p->seq + 1;
        tp_turn(p, PKT_ACK, p->seq + 1, 0, &out->reply);
        out->spare_reply = true;
    }
}

/* A TCP packet of a source held by mode throttle, persist or stutter. */
static void decide_tcp(const struct pkt *p, const struct tp_config *cfg, struct decision *out)
{
    const bool syn = p->flags & PKT_SYN, ack = p->flags & PKT_ACK, fin = p->flags & PKT_FIN;
    const uint32_t d = p->ack - p->seq - (ack && !syn ? tp_mask(p, cfg->secret) : 0);

    if (!is_answerable(p)) {
        out->event = TP_DROPPED;
    } else if (p->flags & PKT_RST) {
        out->event = TP_RST;
        out->slot = TP_SLOT_FREE;
    } else if (syn && fin) {
        out->event = TP_STRAY;
    } else if (syn && ack) {
        out->event = TP_SYNACK;
        out->has_reply = cfg->answer_synack;
        tp_turn(p, PKT_RST, 0, 0, &out->reply);
    } else if (syn) {
        open_trap(p, cfg, out);
    } else if (fin) {
        out->event = TP_FIN;
        out->slot = TP_SLOT_FREE;
    } else if (!ack || out->mode == TP_THROTTLE) {
        out->event = TP_STRAY;
    } else if (out->mode == TP_PERSIST) {
        persist(p, cfg, (int32_t)d, out);
    } else {
        stutter(p, cfg, d, out);
    }
}

static uint8_t mode_in_force(uint32_t value, const struct tp_config *cfg)
{
    uint8_t mode = value >> TP_VALUE_MODE_SHIFT & TP_VALUE_MODE_MASK;

    return mode == TP_DEFAULT || mode >= TP_MODES ? cfg->mode : mode;
}

void tp_decide(const struct pkt *p, uint32_t value, const struct tp_config *cfg, struct decision *out)
{
    *out = (struct decision){.verdict = TP_ACCEPT, .event = TP_NONE};
    if (p->family == 0 || p->kind == PKT_BAD || value == 0 || value & (TP_VALUE_EXCLUDED | TP_VALUE_SHADOW))
        return;
    if (is_loopback(p) && !cfg->loopback)
        return;
    out->mode = mode_in_force(value, cfg);
    if (out->mode == TP_OBSERVE) {
        out->event = TP_OBSERVED;
    } else if (!pkt_may_be_tcp(p)) {
        out->event = TP_OTHER;
        out->verdict = cfg->other_protocols ? TP_DROP : TP_ACCEPT;
    } else {
        out->verdict = TP_DROP;
        out->event = TP_DROPPED;
        if (p->kind == PKT_TCP && out->mode != TP_DROP_MODE)
            decide_tcp(p, cfg, out);
    }
}
