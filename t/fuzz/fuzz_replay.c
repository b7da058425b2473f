/* Fuzz the reading of captured frames, and the replay that counts what the tarpit would do with them.
 *
 * Input: a byte that chooses the link type, one that chooses the mode, then frames, each behind a byte of its length.
 */
#include <stdlib.h>
#include <string.h>

#include "addrtable.h"
#include "capture.h"
#include "replay.h"

enum { FRAMES = 64 };

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct addrtable *table(uint32_t value)
{
    static const uint64_t seed[2] = {1, 2};
    static const uint8_t any[16];
    struct addrtable *t = at_new_seeded(seed);

    check(t && at_set(t, any, 4, 1, value) == 0 && at_set(t, any, 16, 3, value) == 0);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned links[] = {0, 1, 12, 14, 101, 108, 113, 228, 229, 276};
    static uint8_t ports[8192];
    struct replay_packet packets[FRAMES];
    uint64_t start_ms, span_ms, spans = 0;
    uint32_t n_sources, n_spans;
    size_t n = 0;

    if (size < 2)
        return 0;
    memset(ports, 0xff, sizeof ports);
    const unsigned link = links[data[0] % 10];
    struct replay_settings set = {.ports = ports, .sources_max = 8, .listings = table(1), .shadows = table(1 | 1 << 6)};
    set.config = (struct tp_config){.mode = (uint8_t)(1 + data[1] % 5), .window = 10, .line_len = 20, .loopback = true,
                                    .other_protocols = data[1] & 16};
    struct replay *r = replay_new(&set);

    check(r && capture_is_known(link));
    for (size_t at = 2; at < size && n < FRAMES; n++) {
        const size_t len = data[at] < size - at - 1 ? data[at] : size - at - 1;
        packets[n] = (struct replay_packet){data + at + 1, (uint64_t)data[at] << (data[at] & 31), (uint32_t)len};
        at += 1 + len;
    }
    check(replay_feed(r, link, packets, n) == 0);
    const struct replay_counts *c = replay_counts(r);
    const struct replay_span *s = replay_spans(r, &n_spans, &start_ms, &span_ms);

    check(c->packets == n && n_spans <= REPLAY_SPANS);
    check(c->packets == c->other + c->cut + c->bad + c->elsewhere + c->unlisted + c->shadowed + c->excepted +
                            c->observed + c->dropped);
    for (uint32_t i = 0; i < n_spans; i++)
        spans += s[i].passed + s[i].shadowed + s[i].dropped;
    check(spans == c->unlisted + c->shadowed + c->excepted + c->observed + c->dropped);
    check(c->answered <= c->dropped && c->connections <= c->dropped);
    replay_sources(r, &n_sources);
    check(n_sources <= 8);
    replay_free(r);
    at_free(set.listings);
    at_free(set.shadows);
    return 0;
}
