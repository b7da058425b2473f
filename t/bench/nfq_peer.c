/* The named peer of bench_nfqueue: the usual libnetfilter_queue program, one recv and one verdict a packet.
 *
 *     nfq_peer QUEUE LENGTH [FILE | -]
 *
 * Without FILE every packet is ACCEPTed unseen. With "-" that is done 128 at a time, by recvmmsg and one batch verdict.
 * With FILE (listed addresses, 4 bytes each, network order) a listed source's SYN is answered with a SYN/ACK through a
 * raw IP socket and DROPped, as a straightforward tarpit in C would do it. Prints READY when the queue is bound; ends
 * on SIGTERM. */

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <libnetfilter_queue/libnetfilter_queue.h>

static uint32_t *slots, mask;
static int raw = -1;

static uint32_t spread(uint32_t a)
{
    a ^= a >> 16;
    a *= 0x7feb352du;
    a ^= a >> 15;
    a *= 0x846ca68bu;
    return a ^ a >> 16;
}

static int is_listed(uint32_t addr)
{
    for (uint32_t i = spread(addr) & mask; slots[i]; i = (i + 1) & mask)
        if (slots[i] == addr)
            return 1;
    return 0;
}

static void load(const char *name)
{
    FILE *file = fopen(name, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(name);
        exit(1);
    }
    size_t n = (size_t)ftell(file) / 4;
    rewind(file);
    for (mask = 1; mask < 2 * n; mask <<= 1)
        ;
    slots = calloc(mask--, 4);
    for (uint32_t a; slots && fread(&a, 4, 1, file) == 1;) {
        uint32_t i = spread(a) & mask;
        while (slots[i] && slots[i] != a)
            i = (i + 1) & mask;
        slots[i] = a;
    }
    fclose(file);
}

static uint16_t checksum(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i + 1 < n; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static void answer(const uint8_t *ip)
{
    const uint8_t *tcp = ip + 20;
    uint8_t out[40] = {0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6};
    memcpy(out + 12, ip + 16, 4);
    memcpy(out + 16, ip + 12, 4);
    memcpy(out + 20, tcp + 2, 2);
    memcpy(out + 22, tcp, 2);
    uint32_t seq = htonl(spread((uint32_t)tcp[4] << 24 | tcp[5])), ack;
    memcpy(&ack, tcp + 4, 4);
    ack = htonl(ntohl(ack) + 1);
    memcpy(out + 24, &seq, 4);
    memcpy(out + 28, &ack, 4);
    out[32] = 0x50;
    out[33] = 0x12;
    out[35] = 10;
    uint16_t sum = checksum(out + 12, 28, 6 + 20);
    memcpy(out + 36, &sum, 2);
    struct sockaddr_in to = {.sin_family = AF_INET};
    memcpy(&to.sin_addr, out + 16, 4);
    sendto(raw, out, sizeof out, 0, (struct sockaddr *)&to, sizeof to);
}

static int on_packet(struct nfq_q_handle *q, struct nfgenmsg *msg, struct nfq_data *data, void *arg)
{
    (void)msg, (void)arg;
    struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
    uint32_t id = header ? ntohl(header->packet_id) : 0, src;
    unsigned char *p;
    if (slots && nfq_get_payload(data, &p) >= 40 && p[0] == 0x45 && p[9] == 6) {
        memcpy(&src, p + 12, 4);
        if (is_listed(src)) {
            if ((p[33] & 0x12) == 2)
                answer(p);
            return nfq_set_verdict(q, id, NF_DROP, 0, NULL);
        }
    }
    return nfq_set_verdict(q, id, NF_ACCEPT, 0, NULL);
}

static uint32_t last_id;

static int on_packet_of_batch(struct nfq_q_handle *q, struct nfgenmsg *msg, struct nfq_data *data, void *arg)
{
    (void)q, (void)msg, (void)arg;
    struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
    if (header)
        last_id = ntohl(header->packet_id);
    return 0;
}

static void run_batches(struct nfq_handle *h, struct nfq_q_handle *q, int fd)
{
    enum { BATCH = 128 };
    static char bufs[BATCH][1024] __attribute__((aligned(8)));
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){bufs[i], sizeof bufs[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (int n; (n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL)) > 0;) {
        for (int i = 0; i < n; i++)
            nfq_handle_packet(h, bufs[i], (int)messages[i].msg_len);
        nfq_set_verdict_batch(q, last_id, NF_ACCEPT);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: nfq_peer QUEUE LENGTH [FILE | -]\n");
        return 2;
    }
    int is_batched = argc > 3 && !strcmp(argv[3], "-");
    if (argc > 3 && !is_batched) {
        load(argv[3]);
        raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    }
    struct nfq_handle *h = nfq_open();
    struct nfq_q_handle *q = h ? nfq_create_queue(h, (uint16_t)atoi(argv[1]), is_batched ? on_packet_of_batch : on_packet, NULL)
                               : NULL;
    unsigned length = (unsigned)atoi(argv[2]);
    if (!q || nfq_set_mode(q, NFQNL_COPY_PACKET, 128) < 0 || nfq_set_queue_maxlen(q, length) < 0) {
        perror("nfq_peer");
        return 1;
    }
    int fd = nfq_fd(h), bytes = (int)(length * 2048 < 1u << 30 ? length * 2048 : 1u << 30);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    puts("READY");
    fflush(stdout);
    if (is_batched)
        run_batches(h, q, fd);
    static char buf[4096] __attribute__((aligned(8)));
    for (ssize_t n; (n = recv(fd, buf, sizeof buf, 0)) >= 0;)
        nfq_handle_packet(h, buf, (int)n);
    perror("recv");
    return 1;
}
