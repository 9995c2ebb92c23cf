/* What the machine allows: answers every question with one address, looking at nothing, in batches. echo PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, ROOM = 512 };
static const unsigned char answer[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 0, 0, 1};
static unsigned char bytes[BATCH][ROOM + sizeof answer];
static struct sockaddr_in from[BATCH];
static struct iovec places[BATCH];
static struct mmsghdr messages[BATCH];

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    if (argc != 2) return 2;
    at.sin_port = htons(atoi(argv[1]));
    if (bind(sock, (struct sockaddr *)&at, sizeof at)) {
        perror("bind");
        return 1;
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            places[i] = (struct iovec){bytes[i], ROOM};
            messages[i].msg_hdr = (struct msghdr){&from[i], sizeof from[i], &places[i], 1, NULL, 0, 0};
        }
        int count = recvmmsg(sock, messages, BATCH, MSG_WAITFORONE, NULL), kept = 0;
        for (int i = 0; i < count; i++) {
            unsigned length = messages[i].msg_len;
            if (length < 12) continue;
            bytes[i][2] |= 0x80; /* QR */
            bytes[i][7] = 1;     /* ANCOUNT */
            memcpy(bytes[i] + length, answer, sizeof answer);
            places[i].iov_len = length + sizeof answer;
            messages[kept++].msg_hdr = messages[i].msg_hdr;
        }
        for (int sent = 0, more; sent < kept; sent += more)
            if ((more = sendmmsg(sock, messages + sent, kept - sent, 0)) < 1) more = 1;
    }
}
