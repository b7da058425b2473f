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

/* The hash in pieces, for who has words at hand: start, add each, end. So many rounds a word, and at the end. */
static inline void sip_start(uint64_t v[4], const uint64_t key[2])
{
    v[0] = key[0] ^ 0x736f6d6570736575u;
    v[1] = key[1] ^ 0x646f72616e646f6du;
    v[2] = key[0] ^ 0x6c7967656e657261u;
    v[3] = key[1] ^ 0x7465646279746573u;
}

static inline void sip_add(uint64_t v[4], uint64_t word, unsigned rounds)
{
    v[3] ^= word;
    sip_rounds(v, rounds);
    v[0] ^= word;
}

static inline uint64_t sip_end(uint64_t v[4], unsigned rounds)
{
    v[2] ^= 0xff;
    sip_rounds(v, rounds);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static inline uint64_t siphash24(const uint64_t key[2], const uint8_t *in, size_t len)
{
    uint64_t v[4];
    size_t whole = len & ~(size_t)7;

    sip_start(v, key);
    for (size_t i = 0; i < whole; i += 8)
        sip_add(v, sip_word(in + i, 8), 2);
    sip_add(v, sip_word(in + whole, len - whole) | (uint64_t)len << 56, 2);
    return sip_end(v, 4);
}

#endif
