/* Ask a DNS server as fast as it answers, with a fixed number of queries in flight, and judge every answer.
 *
 *     dns_load ADDRESS PORT SECONDS SOCKETS IN_FLIGHT QUERIES SAMPLE
 *
 * QUERIES is a file of queries, each after a byte for its class and two for its length; they are asked in order, over
 * and over. Every socket is connected and has its share of the queries in flight; a query's number is its place in the
 * socket's sequence. It never sleeps, since waking up would be measured too. What is not answered in LOST_MS is counted
 * as lost and replaced. One answer in SAMPLE_STEP goes with its query into the file SAMPLE, each after two bytes of
 * length. The last line is JSON:
 *
 *     {"seconds": 3.0, "sent": n, "received": n, "lost": n, "bad": n, "cpu_s": 2.9, "slowest_ms": 1.2, "classes":
 *      [[answers, NODATA, NXDOMAIN, other], ...]} */

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { SOCKETS = 256, BATCH = 64, CLASSES = 16, NUMBERS = 65536, REPLY_BYTES = 4096, LOST_MS = 200, SAMPLE_STEP = 499 };

struct query {
    const uint8_t *bytes;
    uint16_t size;
    uint8_t class;
};

struct flow {
    int fd;
    unsigned in_flight;
    uint16_t next;             /* number of the next query */
    double heard;              /* when the last answer came */
    uint32_t asked[NUMBERS];   /* which query a number is, + 1; 0: none */
    double since[NUMBERS];     /* when it was asked */
};

static struct flow flows[SOCKETS];
static struct query *queries;
static size_t n_queries, at_query;
static double clock_s, slowest_s;
static uint64_t sent, received, lost, bad, classes[CLASSES][4];
static uint8_t out[BATCH][REPLY_BYTES], in[BATCH][REPLY_BYTES + 64];
static struct mmsghdr out_messages[BATCH], in_messages[BATCH];
static struct iovec out_parts[BATCH], in_parts[BATCH];
static FILE *sample;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(path);
        exit(1);
    }
    size_t size = (size_t)ftell(file);
    uint8_t *bytes = malloc(size);
    rewind(file);
    queries = calloc(size / 15 + 1, sizeof *queries);
    if (!bytes || !queries || fread(bytes, 1, size, file) != size) {
        fprintf(stderr, "%s: can't be read\n", path);
        exit(1);
    }
    for (size_t at = 0; at + 3 < size;) {
        struct query *q = &queries[n_queries++];
        *q = (struct query){bytes + at + 3, (uint16_t)(bytes[at + 1] << 8 | bytes[at + 2]), bytes[at] % CLASSES};
        at += 3u + q->size;
    }
    fclose(file);
}

static void open_flow(struct flow *f, const struct sockaddr_in *server)
{
    int room = 4 << 20;
    f->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(f->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (f->fd < 0 || connect(f->fd, (const struct sockaddr *)server, sizeof *server)) {
        perror("dns_load: connect");
        exit(1);
    }
}

static void keep_sample(const struct query *q, const uint8_t *reply, unsigned size)
{
    uint8_t head[2] = {(uint8_t)(q->size >> 8), (uint8_t)q->size};
    fwrite(head, 1, 2, sample);
    fwrite(reply, 1, 2, sample); /* the number it was asked with */
    fwrite(q->bytes + 2, 1, q->size - 2u, sample);
    head[0] = (uint8_t)(size >> 8), head[1] = (uint8_t)size;
    fwrite(head, 1, 2, sample);
    fwrite(reply, 1, size, sample);
}

static void judge(struct flow *f, const uint8_t *reply, unsigned size)
{
    uint32_t *asked = size >= 12 ? &f->asked[reply[0] << 8 | reply[1]] : NULL;
    if (!asked || !*asked || !(reply[2] & 0x80)) {
        bad++;
        return;
    }
    const struct query *q = &queries[*asked - 1];
    unsigned rcode = reply[3] & 15, answers = (unsigned)reply[6] << 8 | reply[7];
    double took = clock_s - f->since[asked - f->asked];
    slowest_s = took > slowest_s ? took : slowest_s;
    *asked = 0;
    f->in_flight -= f->in_flight > 0;
    if (++received % SAMPLE_STEP == 0)
        keep_sample(q, reply, size);
    classes[q->class][rcode == 0 ? answers == 0 : rcode == 3 ? 2 : 3]++;
}

static unsigned receive(struct flow *f)
{
    int n = recvmmsg(f->fd, in_messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++)
        judge(f, in[i], in_messages[i].msg_len);
    return n > 0 ? (unsigned)n : 0;
}

static void ask(struct flow *f, unsigned window)
{
    unsigned n = window > f->in_flight ? window - f->in_flight : 0;
    n = n < BATCH ? n : BATCH;
    for (unsigned i = 0; i < n; i++) {
        const struct query *q = &queries[at_query];
        uint16_t number = f->next++;
        memcpy(out[i], q->bytes, q->size);
        out[i][0] = (uint8_t)(number >> 8);
        out[i][1] = (uint8_t)number;
        out_parts[i].iov_len = q->size;
        f->asked[number] = (uint32_t)at_query + 1;
        f->since[number] = clock_s;
        at_query = at_query + 1 < n_queries ? at_query + 1 : 0;
    }
    int done = n ? sendmmsg(f->fd, out_messages, n, MSG_DONTWAIT) : 0;
    done = done > 0 ? done : 0;
    f->in_flight += (unsigned)done;
    sent += (unsigned)done;
}

static void give_up(struct flow *f)
{
    if (f->in_flight && clock_s - f->heard > LOST_MS / 1000.0) {
        lost += f->in_flight;
        f->in_flight = 0;
        f->heard = clock_s;
        memset(f->asked, 0, sizeof f->asked);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in server = {.sin_family = AF_INET};
    if (argc != 8 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
        fprintf(stderr, "usage: dns_load ADDRESS PORT SECONDS SOCKETS IN_FLIGHT QUERIES SAMPLE\n");
        return 2;
    }
    server.sin_port = htons((uint16_t)atoi(argv[2]));
    double seconds = atof(argv[3]);
    unsigned n_flows = (unsigned)atoi(argv[4]), window = (unsigned)atoi(argv[5]) / n_flows;
    n_flows = n_flows < SOCKETS ? n_flows : SOCKETS;
    load(argv[6]);
    sample = fopen(argv[7], "wb");
    if (!sample || !n_queries) {
        fprintf(stderr, "dns_load: no queries, or no place for samples\n");
        return 1;
    }
    for (unsigned i = 0; i < BATCH; i++) {
        out_parts[i].iov_base = out[i];
        in_parts[i] = (struct iovec){in[i], REPLY_BYTES};
        out_messages[i].msg_hdr = (struct msghdr){.msg_iov = &out_parts[i], .msg_iovlen = 1};
        in_messages[i].msg_hdr = (struct msghdr){.msg_iov = &in_parts[i], .msg_iovlen = 1};
    }
    double began = clock_s = now();
    for (unsigned i = 0; i < n_flows; i++) {
        open_flow(&flows[i], &server);
        flows[i].heard = began;
    }
    while (clock_s - began < seconds) {
        for (unsigned i = 0; i < n_flows; i++) {
            unsigned came = receive(&flows[i]);
            if (came)
                flows[i].heard = clock_s;
            else
                give_up(&flows[i]);
            ask(&flows[i], window);
        }
        clock_s = now();
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"seconds\": %.6f, \"sent\": %lu, \"received\": %lu, \"lost\": %lu, \"bad\": %lu, \"cpu_s\": %.4f, "
           "\"slowest_ms\": %.3f, \"classes\": [",
           clock_s - began, (unsigned long)sent, (unsigned long)received, (unsigned long)lost, (unsigned long)bad,
           cpu_s, slowest_s * 1000);
    for (int i = 0; i < CLASSES; i++)
        printf("%s[%lu, %lu, %lu, %lu]", i ? ", " : "", (unsigned long)classes[i][0], (unsigned long)classes[i][1],
               (unsigned long)classes[i][2], (unsigned long)classes[i][3]);
    printf("]}\n");
    return 0;
}
