/* getaddrinfo as musl does it: prints one address a line. Usage: muslgai NAME [4|6]; exit 2 when it has none. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    struct addrinfo hints, *list, *one;
    char text[INET6_ADDRSTRLEN];
    int error;

    if (argc < 2) {
        fprintf(stderr, "usage: muslgai NAME [4|6]\n");
        return 1;
    }
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_family = argc < 3 ? AF_UNSPEC : argv[2][0] == '4' ? AF_INET : AF_INET6;
    error = getaddrinfo(argv[1], NULL, &hints, &list);
    if (error) {
        fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(error));
        return 2;
    }
    for (one = list; one; one = one->ai_next) {
        const void *address = one->ai_family == AF_INET
            ? (const void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
            : (const void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
        puts(inet_ntop(one->ai_family, address, text, sizeof text));
    }
    freeaddrinfo(list);
    return 0;
}
