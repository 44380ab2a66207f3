/* Load: many connections in one thread that send requests again and again, and discard the bodies.

   load HOST PORT CLIENTS METHOD LIMIT RATE COUNTERS < REQUESTS

   REQUESTS are heads of requests, each complete. LIMIT: bytes of the first body after which a client
   reads nothing more, 0 for none. RATE: bytes a second that each client reads at most, 0 for any number.
   COUNTERS is a file with three 64-bit numbers, which are kept up to date: bytes, responses, and clients
   that have reached their limit. An unusable response ends the program with a message. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 4096, DISCARD = 8 << 20, SLICE = 64 << 10, KERNEL = 64 << 10, REQUESTS = 4096 };

struct client {
    int socket, next, filled, paused;
    char head[HEAD + 1];
    int64_t left;
    double began, seen;
};

static char *requests[REQUESTS];
static int request_count, method_is_head, poll_fd;
static int64_t limit;
static double rate;
static volatile uint64_t *counters;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void watch(struct client *client, int how, int paused)
{
    struct epoll_event event = { .events = paused ? 0 : EPOLLIN, .data.ptr = client };
    client->paused = paused;
    if (epoll_ctl(poll_fd, how, client->socket, &event))
        fail("epoll_ctl");
}

static void ask(struct client *client)
{
    const char *request = requests[client->next++ % request_count];
    client->filled = 0;
    if (send(client->socket, request, strlen(request), 0) < 0)
        fail("send");
}

static void answered(struct client *client)
{
    counters[1]++;
    if (limit) {
        counters[2]++;
        epoll_ctl(poll_fd, EPOLL_CTL_DEL, client->socket, NULL);
    } else {
        ask(client);
    }
}

/* Returns the bytes received, 0 if there are none yet. */
static int64_t read_head(struct client *client)
{
    ssize_t got = recv(client->socket, client->head + client->filled, HEAD - client->filled, 0);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        fail("closed before the end of the headers");
    client->filled += got;
    client->head[client->filled] = 0;
    char *end = strstr(client->head, "\r\n\r\n");
    if (!end) {
        if (client->filled == HEAD)
            fail("headers that are too long");
        return got;
    }
    if (strncmp(client->head + 9, "200", 3) && strncmp(client->head + 9, "206", 3)) {
        client->head[strcspn(client->head, "\r")] = 0;
        fail(client->head);
    }
    int64_t length = 0, body = client->head + client->filled - (end + 4);
    if (!method_is_head) {
        *end = 0;
        char *field = strcasestr(client->head, "\r\ncontent-length:");
        if (!field)
            fail("a response without Content-Length");
        length = atoll(field + 17);
    }
    if (limit && length > limit)
        length = limit;
    client->left = length - body > 0 ? length - body : 0;
    if (!client->left)
        answered(client);
    return got;
}

static int64_t read_body(struct client *client)
{
    static char nowhere[DISCARD];
    int64_t wanted = rate > 0 ? SLICE : DISCARD;
    if (wanted > client->left)
        wanted = client->left;
    ssize_t got = recv(client->socket, nowhere, wanted, MSG_TRUNC);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        fail("closed before the end of the body");
    client->left -= got;
    if (!client->left)
        answered(client);
    return got;
}

int main(int count, char **words)
{
    if (count != 8)
        fail("usage: load HOST PORT CLIENTS METHOD LIMIT RATE COUNTERS < REQUESTS");
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(words[2])) };
    inet_pton(AF_INET, words[1], &address.sin_addr);
    int clients = atoi(words[3]), one = 1, kernel = KERNEL;
    method_is_head = !strcmp(words[4], "HEAD");
    limit = atoll(words[5]);
    rate = atof(words[6]);
    int file = open(words[7], O_RDWR);
    counters = mmap(NULL, 3 * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counters == MAP_FAILED)
        fail("no file for the counters");

    static char text[8 << 20];
    size_t size = fread(text, 1, sizeof text - 1, stdin);
    for (char *at = text, *end; at < text + size && request_count < REQUESTS; at = end) {
        end = strstr(at, "\r\n\r\n");
        if (!end)
            break;
        end += 4;
        requests[request_count++] = strndup(at, end - at);
    }
    if (!request_count)
        fail("no requests");

    poll_fd = epoll_create1(0);
    struct client *all = calloc(clients, sizeof *all);
    for (int each = 0; each < clients; each++) {
        struct client *client = all + each;
        client->socket = socket(AF_INET, SOCK_STREAM, 0);
        client->next = each;
        /* What the kernel holds for a client is not the server's to bound: keep it small. */
        if (limit)
            setsockopt(client->socket, SOL_SOCKET, SO_RCVBUF, &kernel, sizeof kernel);
        if (connect(client->socket, (struct sockaddr *)&address, sizeof address))
            fail("connect");
        setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(client->socket, F_SETFL, O_NONBLOCK);
        client->began = now();
        watch(client, EPOLL_CTL_ADD, 0);
        ask(client);
    }
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(poll_fd, events, 256, rate > 0 ? 1 : -1);
        for (int each = 0; each < ready; each++) {
            struct client *client = events[each].data.ptr;
            int64_t got = client->left ? read_body(client) : read_head(client);
            counters[0] += got;
            client->seen += got;
            if (rate > 0 && client->seen > rate * (now() - client->began))
                watch(client, EPOLL_CTL_MOD, 1);
        }
        for (int each = 0; rate > 0 && each < clients; each++)
            if (all[each].paused && all[each].seen <= rate * (now() - all[each].began))
                watch(all + each, EPOLL_CTL_MOD, 0);
    }
}
