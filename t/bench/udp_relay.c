/* Stand between DNS clients and a server on loopback: hold every question for a while, lose some of them.
 *
 *     udp_relay PORT SERVER_PORT DELAY_MS LOSE_PER_MILLE
 *
 * Which questions are lost is the same in every run (of so many questions, in order). What is due goes to the server as
 * fast as that answers: never more than IN_SERVER at a time, so that nothing is lost in its socket, unasked for. Answers
 * go back at once. A question gets a number of the relay's on its way, since clients number theirs alike. One line on
 * standard output when it listens. */

#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { HELD = 32768, BATCH = 64, BYTES = 512, IN_SERVER = 128, FORGET_MS = 200 };

struct question {
    struct sockaddr_in from;
    uint64_t due_us;
    unsigned size;
    uint8_t bytes[BYTES];
};
struct asker {
    struct sockaddr_in from;
    uint8_t id[2];
};

static struct question held[HELD];
static unsigned head, count, in_server;
static struct asker askers[65536];
static uint16_t number;
static uint8_t in[BATCH][4096];
static struct mmsghdr messages[BATCH];
static struct iovec parts[BATCH];
static struct sockaddr_in names[BATCH];
static uint32_t lottery = 2463534242u;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static int is_lost(unsigned per_mille)
{
    lottery ^= lottery << 13, lottery ^= lottery >> 17, lottery ^= lottery << 5;
    return lottery % 1000 < per_mille;
}

static int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), room = 64 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    return fd;
}

static int receive(int fd)
{
    for (unsigned i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){in[i], sizeof in[i]};
        messages[i].msg_hdr = (struct msghdr){
            .msg_iov = &parts[i], .msg_iovlen = 1, .msg_name = &names[i], .msg_namelen = sizeof names[i]};
    }
    return recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
}

static void take_questions(int fd, uint64_t delay_us, unsigned per_mille)
{
    int n = receive(fd);
    uint64_t due = now_us() + delay_us;
    for (int i = 0; i < n; i++) {
        unsigned size = messages[i].msg_len;
        if (size < 12 || size > BYTES || count == HELD || is_lost(per_mille))
            continue;
        struct question *q = &held[(head + count++) % HELD];
        q->from = names[i], q->due_us = due, q->size = size;
        memcpy(q->bytes, in[i], size);
    }
}

static void pass_due(int fd, uint64_t now)
{
    unsigned n = 0;
    while (n < BATCH && n < count && in_server + n < IN_SERVER && held[(head + n) % HELD].due_us <= now) {
        struct question *q = &held[(head + n) % HELD];
        struct asker *a = &askers[number];
        a->from = q->from;
        memcpy(a->id, q->bytes, 2);
        q->bytes[0] = (uint8_t)(number >> 8), q->bytes[1] = (uint8_t)number;
        number++;
        parts[n] = (struct iovec){q->bytes, q->size};
        messages[n].msg_hdr = (struct msghdr){.msg_iov = &parts[n], .msg_iovlen = 1};
        n++;
    }
    if (n)
        sendmmsg(fd, messages, n, 0);
    head = (head + n) % HELD, count -= n, in_server += n;
}

static int pass_answers(int from, int to)
{
    int n = receive(from);
    for (int i = 0; i < n; i++) {
        struct asker *a = &askers[in[i][0] << 8 | in[i][1]];
        memcpy(in[i], a->id, 2);
        names[i] = a->from;
        parts[i].iov_len = messages[i].msg_len;
        messages[i].msg_hdr.msg_namelen = sizeof names[i];
    }
    if (n > 0) {
        sendmmsg(to, messages, (unsigned)n, 0);
        in_server -= (unsigned)n < in_server ? (unsigned)n : in_server;
    }
    return n;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: udp_relay PORT SERVER_PORT DELAY_MS LOSE_PER_MILLE\n");
        return 2;
    }
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))}, there = here;
    here.sin_addr.s_addr = there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    there.sin_port = htons((uint16_t)atoi(argv[2]));
    int front = open_socket(), back = open_socket();
    if (bind(front, (struct sockaddr *)&here, sizeof here) || connect(back, (struct sockaddr *)&there, sizeof there)) {
        perror("udp_relay");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    uint64_t delay_us = (uint64_t)atoi(argv[3]) * 1000u, heard = now_us();
    for (;;) {
        struct pollfd fds[2] = {{.fd = front, .events = POLLIN}, {.fd = back, .events = POLLIN}};
        uint64_t now = now_us(), due = count ? held[head].due_us : now + 1000000;
        int is_full = in_server >= IN_SERVER;
        poll(fds, 2, is_full ? FORGET_MS : due <= now ? 0 : (int)((due - now + 999) / 1000));
        if (fds[0].revents)
            take_questions(front, delay_us, (unsigned)atoi(argv[4]));
        if (fds[1].revents && pass_answers(back, front) > 0)
            heard = now_us();
        else if (now_us() - heard > FORGET_MS * 1000u)
            in_server = 0, heard = now_us();
        pass_due(back, now_us());
    }
}
