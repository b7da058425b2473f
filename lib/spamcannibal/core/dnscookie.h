/* DNS cookies that all servers of an address understand: RFC 9018, for the option of RFC 7873. Pure, freestanding.
 *
 *   server cookie (16)   version 1 · reserved 3 · time (s, u32) · SipHash-2-4 (8) of
 *                        client cookie (8) · version, reserved, time (8) · client address (4 or 16)
 *
 * It is good for an hour, and from five minutes ahead, so that clocks may differ; past half an hour it is renewed.
 */
#ifndef SC_DNSCOOKIE_H
#define SC_DNSCOOKIE_H

#include <stddef.h>
#include <stdint.h>

enum { DNSCOOKIE_CLIENT_BYTES = 8, DNSCOOKIE_SERVER_BYTES = 16, DNSCOOKIE_SECRET_BYTES = 16 };
enum { DNSCOOKIE_HOUR_S = 3600, DNSCOOKIE_AHEAD_S = 300, DNSCOOKIE_RENEW_S = 1800 };

enum dnscookie_state { DNSCOOKIE_BAD, DNSCOOKIE_GOOD, DNSCOOKIE_OLD /* good, but due for renewal */ };

void dnscookie_make(const uint8_t *secret, const uint8_t *client, const uint8_t *addr, unsigned addrlen, uint32_t now,
                    uint8_t out[DNSCOOKIE_SERVER_BYTES]);

/* `server` of `size` bytes, by any of `n` secrets that follow each other; one by another than the first is old. */
enum dnscookie_state dnscookie_check(const uint8_t *secrets, size_t n, const uint8_t *client, const uint8_t *server,
                                     size_t size, const uint8_t *addr, unsigned addrlen, uint32_t now);

#endif
