/* A bare client: ask each question of a file once and until it is answered, many at a time, and nothing else.
 *
 *     dns_ask ADDRESS PORT SOCKETS IN_FLIGHT RETRY_MS QUERIES
 *
 * QUERIES is a file of A queries, each after two bytes for its length. One that has answers is asked for again as TXT.
 * What is not answered in RETRY_MS is sent again, at most TRIES times. A query's number is its place in the table of
 * those in flight; answers are only matched by it. No case, no source, no name is looked at. The last line is JSON:
 *
 *     {"seconds": 3.0, "asked": n, "answered": n, "listed": n, "lost": n, "resent": n} */

#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SOCKETS = 64, BATCH = 64, MOST = 65536, REPLY_BYTES = 4096, TRIES = 8 };

struct flight {
    const uint8_t *query; /* NULL: free */
    uint16_t size, type;
    unsigned tries;
    double sent;
};

static struct flight flights[MOST];
static uint16_t order[MOST]; /* numbers in flight, oldest first; one may stand here that is done or was sent later */
static double order_sent[MOST];
static unsigned order_head, order_count, in_flight, n_sockets;
static uint16_t free_numbers[MOST]; /* a ring: a number rests before it is used again, for late answers' sake */
static unsigned free_head, n_free, next_socket;
static int fds[SOCKETS];
static uint8_t out[BATCH][512], in[BATCH][REPLY_BYTES];
static struct mmsghdr out_messages[BATCH], in_messages[BATCH];
static struct iovec out_parts[BATCH], in_parts[BATCH];
static unsigned n_out;
static double clock_s;
static unsigned long asked, answered, listed, lost, resent;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void flush(void)
{
    for (unsigned at = 0; at < n_out;) {
        int n = sendmmsg(fds[next_socket], out_messages + at, n_out - at, 0);
        at += n > 0 ? (unsigned)n : n_out - at;
    }
    next_socket = (next_socket + 1) % n_sockets;
    n_out = 0;
}

static void transmit(uint16_t number)
{
    struct flight *f = &flights[number];
    uint8_t *bytes = out[n_out];
    memcpy(bytes, f->query, f->size);
    bytes[0] = (uint8_t)(number >> 8), bytes[1] = (uint8_t)number;
    bytes[f->size - 3] = (uint8_t)f->type;
    out_parts[n_out++].iov_len = f->size;
    f->sent = clock_s;
    f->tries++;
    unsigned place = (order_head + order_count++) % MOST;
    order[place] = number, order_sent[place] = clock_s;
    if (n_out == BATCH)
        flush();
}

static void begin(const uint8_t *query, uint16_t size, uint16_t type)
{
    uint16_t number = free_numbers[free_head];
    free_head = (free_head + 1) % MOST, n_free--;
    flights[number] = (struct flight){query, size, type, 0, 0};
    in_flight++;
    asked++;
    transmit(number);
}

static void end(uint16_t number)
{
    flights[number].query = NULL;
    free_numbers[(free_head + n_free++) % MOST] = number;
    in_flight--;
}

static void receive(int fd)
{
    int n = recvmmsg(fd, in_messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) {
        uint16_t number = (uint16_t)(in[i][0] << 8 | in[i][1]);
        struct flight f = flights[number];
        if (in_messages[i].msg_len < 12 || !f.query || !(in[i][2] & 0x80))
            continue;
        answered++;
        end(number);
        if (f.type == 1 && (in[i][6] || in[i][7])) {
            listed++;
            begin(f.query, f.size, 16);
        }
    }
}

static void resend_due(double retry_s)
{
    while (order_count && clock_s - order_sent[order_head] > retry_s) {
        uint16_t number = order[order_head];
        double sent = order_sent[order_head];
        order_head = (order_head + 1) % MOST, order_count--;
        if (!flights[number].query || flights[number].sent > sent)
            continue;
        if (flights[number].tries == TRIES) {
            lost++;
            end(number);
            continue;
        }
        resent++;
        transmit(number);
    }
}

static uint8_t *load(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(path);
        exit(1);
    }
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*size);
    if (!bytes || fread(bytes, 1, *size, file) != *size)
        exit(1);
    fclose(file);
    return bytes;
}

int main(int argc, char **argv)
{
    struct sockaddr_in server = {.sin_family = AF_INET};
    if (argc != 7 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
        fprintf(stderr, "usage: dns_ask ADDRESS PORT SOCKETS IN_FLIGHT RETRY_MS QUERIES\n");
        return 2;
    }
    server.sin_port = htons((uint16_t)atoi(argv[2]));
    n_sockets = (unsigned)atoi(argv[3]) < SOCKETS ? (unsigned)atoi(argv[3]) : SOCKETS;
    unsigned window = (unsigned)atoi(argv[4]);
    double retry_s = atof(argv[5]) / 1000;
    size_t size, at = 0;
    uint8_t *queries = load(argv[6], &size);
    struct pollfd polled[SOCKETS];
    for (unsigned i = 0; i < n_sockets; i++) {
        int room = 4 << 20;
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        if (connect(fds[i], (struct sockaddr *)&server, sizeof server)) {
            perror("dns_ask");
            return 1;
        }
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    }
    for (unsigned i = 0; i < BATCH; i++) {
        out_parts[i].iov_base = out[i];
        in_parts[i] = (struct iovec){in[i], REPLY_BYTES};
        out_messages[i].msg_hdr = (struct msghdr){.msg_iov = &out_parts[i], .msg_iovlen = 1};
        in_messages[i].msg_hdr = (struct msghdr){.msg_iov = &in_parts[i], .msg_iovlen = 1};
    }
    for (unsigned i = 0; i < MOST; i++)
        free_numbers[n_free++] = (uint16_t)i;
    double began = clock_s = now();
    while (at < size || in_flight) {
        clock_s = now();
        for (; at < size && in_flight < window; at += 2u + (queries[at] << 8 | queries[at + 1]))
            begin(queries + at + 2, (uint16_t)(queries[at] << 8 | queries[at + 1]), 1);
        resend_due(retry_s);
        if (n_out)
            flush();
        poll(polled, n_sockets, 1);
        clock_s = now();
        for (unsigned i = 0; i < n_sockets; i++)
            if (polled[i].revents)
                receive(fds[i]);
    }
    printf("{\"seconds\": %.6f, \"asked\": %lu, \"answered\": %lu, \"listed\": %lu, \"lost\": %lu, \"resent\": %lu}\n",
           now() - began, asked, answered, listed, lost, resent);
    return 0;
}
