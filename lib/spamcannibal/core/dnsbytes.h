/* Numbers and bytes on the wire (network order), and the bits of a DNS header. Freestanding, inline. */
#ifndef SC_DNSBYTES_H
#define SC_DNSBYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QR = 0x8000,
    OPCODE = 0x7800,
    AA = 0x0400,
    TC = 0x0200,
    RD = 0x0100,
    CD = 0x0010,
    IN = 1,
};

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

static inline bool same(const uint8_t *a, const uint8_t *b, size_t n) { return __builtin_memcmp(a, b, n) == 0; }

#endif
