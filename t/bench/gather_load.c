/* Load for a listener of lines or of Postfix policy requests on 127.0.0.1, for bench_gather.py.
 *
 *     gather_load PORT lines COUNT CONCURRENCY FIRST RATE     a connection a line: connect, send, read until the end
 *     gather_load PORT kept COUNT CONCURRENCY FIRST 0         requests on kept connections, one at a time on each
 *
 * Lines report addresses from FIRST on, each once, no two neighbours in one /24; requests ask about them. RATE 0: as fast
 * as CONCURRENCY allows; otherwise so many begin a second, and times are from when each was due. Prints seconds, answers, and
 * the times of the median, of 99 % and of the slowest in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 4096 };

struct slot {
    int fd;
    uint64_t due_ns;
    int got;
};

static struct slot slots[SLOTS];
static int idle_slots[SLOTS], idle_count, poller, port, is_kept;
static uint32_t next_addr;
static uint64_t *times;
static long started, finished, answered, count;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Neighbours differ in the last octet but one, so that no network fills up. */
static void address(char *out, size_t size)
{
    uint32_t n = next_addr++;
    snprintf(out, size, "%u.%u.%u.%u", 20 + (n >> 22 & 63), n >> 14 & 255, n & 255, n >> 8 & 63);
}

static void ask(struct slot *s)
{
    char text[1024], addr[16];
    int len;
    address(addr, sizeof addr);
    if (!is_kept) {
        len = snprintf(text, sizeof text, "black %s\n", addr);
    } else {
        len = snprintf(text, sizeof text,
                       "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
                       "client_address=%s\nclient_name=unknown\nclient_port=40213\nreverse_client_name=unknown\n"
                       "server_address=192.0.2.25\nserver_port=25\nhelo_name=mail.example.org\n"
                       "sender=somebody@example.org\nrecipient=nobody@example.net\nrecipient_count=0\nqueue_id=\n"
                       "instance=1a2b.65a0c1d2.3e4f5.0\nsize=12345\netrn_domain=\nstress=\nsasl_method=\nsasl_username=\n"
                       "sasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n"
                       "encryption_protocol=\nencryption_cipher=\nencryption_keysize=0\npolicy_context=reject\n\n",
                       addr);
    }
    s->got = 0;
    if (send(s->fd, text, (size_t)len, MSG_NOSIGNAL) != len)
        die("send");
}

static void begin(uint64_t due_ns)
{
    int at = idle_slots[--idle_count], on = 1;
    struct slot *s = &slots[at];
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + (uint32_t)(started & 63))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(0x7f000001)};
    s->due_ns = due_ns;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&from, sizeof from) || connect(s->fd, (struct sockaddr *)&to, sizeof to))
        die("connect"); /* over loopback a connection is there at once */
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)at};
    epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &event);
    started++;
    ask(s);
}

static void finish(struct slot *s, uint64_t at_ns)
{
    times[finished++] = at_ns - s->due_ns;
    answered += s->got > 0;
}

static void take(uint32_t at)
{
    struct slot *s = &slots[at];
    char text[4096];
    ssize_t len = recv(s->fd, text, sizeof text, MSG_DONTWAIT);
    if (len < 0 && errno == EAGAIN)
        return;
    uint64_t at_ns = now_ns();
    if (len > 0) {
        s->got += (int)len;
        if (is_kept && text[len - 1] == '\n') {
            finish(s, at_ns);
            if (started < count) {
                started++;
                s->due_ns = at_ns;
                ask(s);
            }
        }
        return;
    }
    if (is_kept)
        die("a kept connection was closed");
    finish(s, at_ns);
    close(s->fd);
    idle_slots[idle_count++] = (int)at;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    port = atoi(argv[1]);
    is_kept = strcmp(argv[2], "kept") == 0;
    count = atol(argv[3]);
    int concurrency = atoi(argv[4]);
    next_addr = (uint32_t)strtoul(argv[5], NULL, 10);
    double rate = atof(argv[6]);
    if (concurrency < 1 || concurrency > SLOTS || count < 1)
        return 2;
    times = calloc((size_t)count, sizeof *times);
    poller = epoll_create1(0);
    for (int i = 0; i < concurrency; i++)
        idle_slots[idle_count++] = i;
    uint64_t began_ns = now_ns();
    while (finished < count) {
        while (idle_count && started < count) {
            uint64_t due_ns = rate > 0 ? began_ns + (uint64_t)((double)started / rate * 1e9) : now_ns();
            if (due_ns > now_ns())
                break;
            begin(due_ns);
        }
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, rate > 0 && started < count ? 0 : 60000);
        if (n == 0 && rate <= 0)
            die("nobody answers");
        for (int i = 0; i < n; i++)
            take(events[i].data.u32);
    }
    double seconds = (double)(now_ns() - began_ns) / 1e9;
    qsort(times, (size_t)count, sizeof *times, by_size);
    printf("%.6f %ld %.1f %.1f %.1f\n", seconds, answered, (double)times[count / 2] / 1e3,
           (double)times[count - 1 - count / 100] / 1e3, (double)times[count - 1] / 1e3);
    return 0;
}
