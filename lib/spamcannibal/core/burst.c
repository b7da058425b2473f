/* See burst.h. */
#include "burst.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void note_addr(struct arrival *a, const union name *name, socklen_t size)
{
    a->addrlen = 0;
    if (size >= sizeof name->v4 && name->any.sa_family == AF_INET) {
        a->addrlen = 4;
        memcpy(a->addr, &name->v4.sin_addr, 4);
    } else if (size >= sizeof name->v6 && name->any.sa_family == AF_INET6) {
        a->addrlen = 16;
        memcpy(a->addr, &name->v6.sin6_addr, 16);
    }
}

/* Accept one, past those that gave up while they waited; false with errno. */
static bool take_one(int listener, struct arrival *a)
{
    union name name;

    for (;;) {
        socklen_t size = sizeof name;

        a->fd = accept4(listener, &name.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (a->fd >= 0) {
            note_addr(a, &name, size);
            return true;
        }
        if (errno != ECONNABORTED && errno != EINTR)
            return false;
    }
}

static ssize_t read_one(int fd, uint8_t *room, size_t size)
{
    ssize_t got = recv(fd, room, size, 0);

    if (got >= 0)
        return got;
    return errno == EAGAIN || errno == EINTR ? ARRIVAL_SILENT : ARRIVAL_ENDED;
}

size_t burst_take(int listener, struct arrival *arrivals, size_t most, uint8_t *room, size_t each)
{
    size_t n = 0;

    while (n < most && take_one(listener, &arrivals[n]))
        n++;
    int why = errno;
    /* In a pass of its own: what the first ones say comes while the last ones are accepted. */
    for (size_t i = 0; i < n; i++)
        arrivals[i].size = read_one(arrivals[i].fd, room + i * each, each);
    errno = why;
    return n;
}

void burst_answer(struct departure *departures, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct departure *d = &departures[i];
        ssize_t sent = d->size ? send(d->fd, d->text, d->size, MSG_NOSIGNAL) : 0;

        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            sent = (ssize_t)d->size; /* it is gone, and so is what it would have read */
        d->sent = sent < 0 ? 0 : (size_t)sent;
        if (d->sent == d->size)
            close(d->fd);
    }
}
