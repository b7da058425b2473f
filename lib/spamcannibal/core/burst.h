/* Connections that come in bursts and say all they want at once: accepted and read, answered and closed, many a call.
 *
 * A report of one line costs four system calls. One after the other from Python they would hand the GIL over as often;
 * here it is let go once for a whole burst.
 */
#ifndef SC_BURST_H
#define SC_BURST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { BURST_LIMIT = 256 };

enum { ARRIVAL_ENDED = 0, ARRIVAL_SILENT = -1 };

struct arrival {
    int fd; /* nonblocking, the caller's from now on */
    uint8_t addr[16];
    unsigned addrlen; /* 0: a Unix socket's peer */
    ssize_t size;     /* of what it said so far, or ARRIVAL_* */
};

struct departure {
    int fd;
    const void *text;
    size_t size;
    size_t sent;
};

/* Accept what waits, at most `most`, and read once from each: arrival i into room + i * each. The number of arrivals; fewer
 * than `most` with errno: EAGAIN when no more wait, or what the system lacks. */
size_t burst_take(int listener, struct arrival *arrivals, size_t most, uint8_t *room, size_t each);

/* Send each its text and close it, but for those that do not take all of it now: their `sent` is below `size`, and they
 * are still open. */
void burst_answer(struct departure *departures, size_t count);

#endif
