/* Send a bounded number of TCP SYN frames, unlisted sources each with an address of its own.
 *
 *     nfq_send IFACE DST_MAC DST_IP PORT COUNT MIX SEED FILE
 *
 * MIX is the share of listed sources in per cent; FILE holds the listed addresses, 4 bytes each, network order. An
 * unlisted source is 10.0.0.0 plus a counter (the listed ones lie above 10.128.0.0). Frames leave by AF_PACKET and
 * sendmmsg, so that a namespace without any route can send them. Prints the number sent. */

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, FRAME = 14 + 20 + 20 };

static uint64_t state;

static uint64_t next_random(void) /* splitmix64: the same seed sends the same packets to every candidate */
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint32_t add16(uint32_t sum, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 1 < n; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    return sum;
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void fill(uint8_t *f, uint32_t src, uint16_t sport, uint32_t seq)
{
    uint8_t *ip = f + 14, *tcp = ip + 20;
    memcpy(ip + 12, &src, 4);
    put16(ip + 10, 0);
    put16(ip + 10, fold(add16(0, ip, 20)));
    put16(tcp, sport);
    put16(tcp + 4, seq >> 16);
    put16(tcp + 6, seq);
    put16(tcp + 16, 0);
    put16(tcp + 16, fold(add16(add16(6 + 20, ip + 12, 8), tcp, 20)));
}

int main(int argc, char **argv)
{
    unsigned mac[6];
    if (argc != 9 || sscanf(argv[2], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
        fprintf(stderr, "usage: nfq_send IFACE DST_MAC DST_IP PORT COUNT MIX SEED FILE\n");
        return 2;
    }
    long count = atol(argv[5]);
    unsigned mix = (unsigned)atoi(argv[6]);
    state = strtoull(argv[7], NULL, 0);
    FILE *file = fopen(argv[8], "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(argv[8]);
        return 1;
    }
    size_t listed = (size_t)ftell(file) / 4;
    rewind(file);
    uint32_t *addrs = malloc(listed * 4 + 4);
    if (!addrs || fread(addrs, 4, listed, file) != listed || !listed) {
        fprintf(stderr, "%s: want a list of 4-byte addresses\n", argv[8]);
        return 1;
    }

    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    struct ifreq ifr = {0};
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", argv[1]);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6, .sll_protocol = htons(ETHERTYPE_IP)};
    to.sll_ifindex = (int)if_nametoindex(argv[1]);
    if (fd < 0 || !to.sll_ifindex || ioctl(fd, SIOCGIFHWADDR, &ifr)) {
        perror("nfq_send");
        return 1;
    }

    static uint8_t frames[BATCH][FRAME];
    struct iovec iov[BATCH];
    struct mmsghdr msgs[BATCH];
    memset(msgs, 0, sizeof msgs);
    for (int i = 0; i < BATCH; i++) {
        uint8_t *f = frames[i];
        for (int j = 0; j < 6; j++)
            f[j] = (uint8_t)mac[j];
        memcpy(f + 6, ifr.ifr_hwaddr.sa_data, 6);
        put16(f + 12, ETHERTYPE_IP);
        f[14] = 0x45;
        put16(f + 16, 40);
        f[22] = 64;
        f[23] = 6;
        inet_pton(AF_INET, argv[3], f + 30);
        put16(f + 36, (uint32_t)atoi(argv[4]));
        f[46] = 0x50;
        f[47] = 0x02;
        put16(f + 48, 64240);
        iov[i] = (struct iovec){f, FRAME};
        msgs[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &iov[i], .msg_iovlen = 1};
    }
    long sent = 0;
    uint32_t unlisted = (uint32_t)(next_random() & 0x3fffff);
    while (sent < count) {
        int n = count - sent < BATCH ? (int)(count - sent) : BATCH;
        for (int i = 0; i < n; i++) {
            uint64_t r = next_random();
            uint32_t src = r % 100 < mix ? addrs[(r >> 8) % listed] : htonl(0x0a000000u + (unlisted++ & 0x3fffff));
            fill(frames[i], src, (uint16_t)(1024 + (r >> 40) % 60000), (uint32_t)(r >> 16));
        }
        for (int done = 0; done < n;) {
            int k = sendmmsg(fd, msgs + done, (unsigned)(n - done), 0);
            if (k <= 0) {
                perror("sendmmsg");
                return 1;
            }
            done += k;
        }
        sent += n;
    }
    printf("%ld\n", sent);
    return 0;
}
