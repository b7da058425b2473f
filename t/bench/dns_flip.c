/* The least that a DNS server could do: take datagrams by recvmmsg, flip the QR bit, send them back by sendmmsg.
 *
 *     dns_flip ADDRESS PORT      (IPv4) until it is killed */

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, BYTES = 4096 };

int main(int argc, char **argv)
{
    static uint8_t buffers[BATCH][BYTES + 64];
    static struct sockaddr_in names[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    struct sockaddr_in here = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;

    if (argc != 3 || inet_pton(AF_INET, argv[1], &here.sin_addr) != 1) {
        fprintf(stderr, "usage: dns_flip ADDRESS PORT\n");
        return 2;
    }
    here.sin_port = htons((uint16_t)atoi(argv[2]));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&here, sizeof here)) {
        perror("dns_flip: bind");
        return 1;
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){buffers[i], BYTES};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &names[i], .msg_namelen = sizeof names[i], .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < n; i++) {
            buffers[i][2] |= 0x80;
            parts[i].iov_len = messages[i].msg_len;
        }
        for (int done = 0; done < n;) {
            int k = sendmmsg(fd, messages + done, (unsigned)(n - done), 0);
            done += k > 0 ? k : 1;
        }
    }
}
