/* See dnscookie.h. */
#include "dnscookie.h"

#include "siphash.h"

static void copy(uint8_t *to, const uint8_t *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
}

static void hash(const uint8_t *secret, const uint8_t *client, const uint8_t *head, const uint8_t *addr,
                 unsigned addrlen, uint8_t out[8])
{
    const uint64_t key[2] = {sip_word(secret, 8), sip_word(secret + 8, 8)};
    uint8_t text[32];

    copy(text, client, 8);
    copy(text + 8, head, 8);
    copy(text + 16, addr, addrlen);
    uint64_t h = siphash24(key, text, 16 + addrlen);
    for (unsigned i = 0; i < 8; i++)
        out[i] = (uint8_t)(h >> 8 * i);
}

void dnscookie_make(const uint8_t *secret, const uint8_t *client, const uint8_t *addr, unsigned addrlen, uint32_t now,
                    uint8_t out[DNSCOOKIE_SERVER_BYTES])
{
    const uint8_t head[8] = {1,
                             0,
                             0,
                             0,
                             (uint8_t)(now >> 24),
                             (uint8_t)(now >> 16),
                             (uint8_t)(now >> 8),
                             (uint8_t)now};

    copy(out, head, sizeof head);
    hash(secret, client, head, addr, addrlen, out + 8);
}

enum dnscookie_state dnscookie_check(const uint8_t *secrets, size_t n, const uint8_t *client, const uint8_t *server,
                                     size_t size, const uint8_t *addr, unsigned addrlen, uint32_t now)
{
    if (size != DNSCOOKIE_SERVER_BYTES || server[0] != 1)
        return DNSCOOKIE_BAD;
    uint32_t made =
        (uint32_t)server[4] << 24 | (uint32_t)server[5] << 16 | (uint32_t)server[6] << 8 | (uint32_t)server[7];
    int32_t age = (int32_t)(now - made); /* serial arithmetic, RFC 1982 */
    if (age > DNSCOOKIE_HOUR_S || age < -DNSCOOKIE_AHEAD_S)
        return DNSCOOKIE_BAD;
    for (size_t i = 0; i < n; i++) {
        uint8_t want[8], differs = 0;

        hash(secrets + i * DNSCOOKIE_SECRET_BYTES, client, server, addr, addrlen, want);
        for (unsigned b = 0; b < 8; b++)
            differs |= (uint8_t)(want[b] ^ server[8 + b]);
        if (!differs)
            return i || age > DNSCOOKIE_RENEW_S ? DNSCOOKIE_OLD : DNSCOOKIE_GOOD;
    }
    return DNSCOOKIE_BAD;
}
