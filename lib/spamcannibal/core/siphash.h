/* SipHash-2-4: a keyed 64-bit hash of a short message.
 *
 * In: a 128-bit key as two words, bytes. Out: 64 bits that nobody without the key can predict, which is why
 * sequence numbers and hash tables fed by strangers use it. Freestanding, byte loads only.
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012); vectors in t/test_tarpit.py.
 */
#ifndef SC_SIPHASH_H
#define SC_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t sip_rotl(uint64_t x, unsigned n) { return x << n | x >> (64 - n); }

/* The little-endian word of n <= 8 bytes, high bytes zero. */
static inline uint64_t sip_word(const uint8_t *p, size_t n)
{
    uint64_t w = 0;

    for (size_t i = 0; i < n; i++)
        w |= (uint64_t)p[i] << (8 * i);
    return w;
}

static inline void sip_rounds(uint64_t v[4], unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        v[0] += v[1], v[1] = sip_rotl(v[1], 13) ^ v[0], v[0] = sip_rotl(v[0], 32);
        v[2] += v[3], v[3] = sip_rotl(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = sip_rotl(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = sip_rotl(v[1], 17) ^ v[2], v[2] = sip_rotl(v[2], 32);
    }
}

static inline uint64_t siphash24(const uint64_t key[2], const uint8_t *in, size_t len)
{
    uint64_t v[4] = {
        key[0] ^ 0x736f6d6570736575u,
        key[1] ^ 0x646f72616e646f6du,
        key[0] ^ 0x6c7967656e657261u,
        key[1] ^ 0x7465646279746573u,
    };
    size_t whole = len & ~(size_t)7;

    for (size_t i = 0; i <= whole; i += 8) {
        uint64_t w = i < whole ? sip_word(in + i, 8) : sip_word(in + i, len - whole) | (uint64_t)len << 56;

        v[3] ^= w;
        sip_rounds(v, 2);
        v[0] ^= w;
    }
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
