/* Moves a known number of bytes in a network namespace of its own, and says what it moved, by which
   sockets, and what the interface counted:
     mover udp4|udp6 COUNT            datagrams of 100 bytes, each received
     mover HOW4|HOW6 BYTES            one TCP stream; HOW: write, sendfile, splice, uring, shared
     mover veth4|veth6 BYTES          the same by write, from one namespace to another
     mover many4 COUNT                as many UDP sockets, which each send 72 bytes; "ready", and they stay
                                      until standard input ends
   Lines: "netns N", "sender COOKIE", "receiver COOKIE", "interface RX_BYTES RX_PACKETS TX_BYTES TX_PACKETS". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call) ({ __typeof__(call) result_ = (call); if (result_ < 0) err(1, "%s", #call); result_; })

static int v6;
static char block[65536];

static void up(const char *name)
{
    struct ifreq request = {0};
    int fd = CHECK(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    CHECK(ioctl(fd, SIOCGIFFLAGS, &request));
    request.ifr_flags |= IFF_UP;
    CHECK(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static void own_namespace(void)
{
    CHECK(unshare(CLONE_NEWNET));
    up("lo");
}

static void say_namespace(void)
{
    struct stat status;
    CHECK(stat("/proc/self/ns/net", &status));
    printf("netns %lu\n", (unsigned long)status.st_ino);
}

static void say_interface(const char *name)
{
    char line[512];
    FILE *file = fopen("/proc/self/net/dev", "r");
    if (!file)
        err(1, "/proc/self/net/dev");
    while (fgets(line, sizeof line, file)) {
        char *at = line;
        while (*at == ' ')
            at++;
        if (strncmp(at, name, strlen(name)) || at[strlen(name)] != ':')
            continue;
        unsigned long value[10];
        at += strlen(name) + 1;
        for (int i = 0; i < 10; i++)
            value[i] = strtoul(at, &at, 10);
        printf("interface %lu %lu %lu %lu\n", value[0], value[1], value[8], value[9]);
    }
    fclose(file);
}

static void say_cookie(const char *what, int fd)
{
    uint64_t cookie;
    socklen_t length = sizeof cookie;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length));
    printf("%s %lu\n", what, (unsigned long)cookie);
}

static socklen_t address(struct sockaddr_in6 *to, const char *text, int port)
{
    memset(to, 0, sizeof *to);
    struct sockaddr_in *four = (struct sockaddr_in *)to;
    if (v6) {
        to->sin6_family = AF_INET6;
        to->sin6_port = htons(port);
        inet_pton(AF_INET6, text, &to->sin6_addr);
        return sizeof *to;
    }
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    inet_pton(AF_INET, text, &four->sin_addr);
    return sizeof *four;
}

static int make(int type, const char *text, int port)
{
    struct sockaddr_in6 own;
    int fd = CHECK(socket(v6 ? AF_INET6 : AF_INET, type, 0));
    CHECK(bind(fd, (struct sockaddr *)&own, address(&own, text, port)));
    return fd;
}

static void join(int fd, const char *text, int port)
{
    struct sockaddr_in6 other;
    CHECK(connect(fd, (struct sockaddr *)&other, address(&other, text, port)));
}

static void datagrams(long count)
{
    const char *here = v6 ? "::1" : "127.0.0.1";
    int from = make(SOCK_DGRAM, here, 4001), to = make(SOCK_DGRAM, here, 4002);
    join(from, here, 4002);
    say_cookie("sender", from);
    say_cookie("receiver", to);
    for (long i = 0; i < count; i++) {
        CHECK(send(from, block, 100, 0));
        CHECK(recv(to, block, sizeof block, 0));
    }
}

static void by_write(int fd, long bytes)
{
    while (bytes > 0)
        bytes -= CHECK(write(fd, block, bytes < (long)sizeof block ? bytes : (long)sizeof block));
}

static void by_sendfile(int fd, long bytes)
{
    int file = CHECK(memfd_create("mover", 0));
    off_t at = 0;
    CHECK(ftruncate(file, bytes));
    while (at < bytes)
        CHECK(sendfile(fd, file, &at, bytes - at));
}

static void by_splice(int fd, long bytes)
{
    int pipes[2];
    CHECK(pipe(pipes));
    while (bytes > 0) {
        long most = bytes < (long)sizeof block ? bytes : (long)sizeof block;
        long there = CHECK(write(pipes[1], block, most));
        bytes -= there;
        while (there > 0)
            there -= CHECK(splice(pipes[0], 0, fd, 0, there, 0));
    }
}

static void by_uring(int fd, long bytes)
{
    struct io_uring_params params = {0};
    int ring = CHECK(syscall(SYS_io_uring_setup, 2, &params));
    size_t size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t done = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    char *sq = mmap(0, size, prot, flags, ring, IORING_OFF_SQ_RING);
    char *cq = mmap(0, done, prot, flags, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entry = mmap(0, params.sq_entries * sizeof *entry, prot, flags, ring, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || entry == MAP_FAILED)
        err(1, "mmap");
    unsigned *tail = (unsigned *)(sq + params.sq_off.tail), *head = (unsigned *)(cq + params.cq_off.head);
    unsigned sq_mask = *(unsigned *)(sq + params.sq_off.ring_mask);
    unsigned cq_mask = *(unsigned *)(cq + params.cq_off.ring_mask);
    while (bytes > 0) {
        memset(entry, 0, sizeof *entry);
        entry->opcode = IORING_OP_SEND;
        entry->fd = fd;
        entry->addr = (uintptr_t)block;
        entry->len = bytes < (long)sizeof block ? bytes : (long)sizeof block;
        ((unsigned *)(sq + params.sq_off.array))[*tail & sq_mask] = 0;
        __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
        CHECK(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0));
        struct io_uring_cqe *event = (struct io_uring_cqe *)(cq + params.cq_off.cqes) + (*head & cq_mask);
        if (event->res <= 0)
            errx(1, "io_uring send: %s", strerror(-event->res));
        bytes -= event->res;
        __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    }
}

static void by_several(int fd, long bytes)
{
    for (int i = 0; i < 4; i++)
        if (CHECK(fork()) == 0) {
            by_write(fd, bytes / 4);
            _exit(0);
        }
    for (int i = 0; i < 4; i++) {
        int status;
        CHECK(wait(&status));
        if (status)
            errx(1, "a child failed");
    }
}

/* The other side: takes one connection and reads it to its end. */
static pid_t receiver(int listener)
{
    pid_t child = CHECK(fork());
    if (child)
        return child;
    int fd = CHECK(accept(listener, 0, 0));
    say_cookie("receiver", fd);
    fflush(stdout);
    while (CHECK(read(fd, block, sizeof block)) > 0)
        ;
    _exit(0);
}

static void stream(const char *how, const char *there, long bytes)
{
    int fd = CHECK(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    join(fd, there, 4003);
    say_cookie("sender", fd);
    if (!strcmp(how, "sendfile"))
        by_sendfile(fd, bytes);
    else if (!strcmp(how, "splice"))
        by_splice(fd, bytes);
    else if (!strcmp(how, "uring"))
        by_uring(fd, bytes);
    else if (!strcmp(how, "shared"))
        by_several(fd, bytes);
    else
        by_write(fd, bytes);
    CHECK(shutdown(fd, SHUT_WR));
    /* The other side has read all when it closes. */
    CHECK(read(fd, block, 1));
}

static void run(const char *format, long number)
{
    char command[256];
    snprintf(command, sizeof command, format, number);
    if (system(command))
        errx(1, "failed: %s", command);
}

/* From here to a namespace of a child, by a pair of interfaces. */
static void between(long bytes)
{
    int made[2], moved[2], ready[2];
    char byte = 0;
    CHECK(pipe(made)), CHECK(pipe(moved)), CHECK(pipe(ready));
    pid_t child = CHECK(fork());
    if (!child) {
        own_namespace();
        CHECK(write(made[1], &byte, 1));
        CHECK(read(moved[0], &byte, 1));
        run("ip address add 10.9.0.2/24 dev there && ip address add fd09::2/64 dev there nodad", 0);
        run("ip link set there up", 0);
        int listener = make(SOCK_STREAM, v6 ? "fd09::2" : "10.9.0.2", 4003);
        CHECK(listen(listener, 1));
        CHECK(write(ready[1], &byte, 1));
        int fd = CHECK(accept(listener, 0, 0));
        while (CHECK(read(fd, block, sizeof block)) > 0)
            ;
        _exit(0);
    }
    CHECK(read(made[0], &byte, 1));
    run("ip link add here type veth peer name there netns %ld", child);
    run("ip address add 10.9.0.1/24 dev here && ip address add fd09::1/64 dev here nodad", 0);
    run("ip link set here up", 0);
    CHECK(write(moved[1], &byte, 1));
    CHECK(read(ready[0], &byte, 1));
    stream("write", v6 ? "fd09::2" : "10.9.0.2", bytes);
    CHECK(waitpid(child, 0, 0));
    say_interface("here");
}

/* Several processes, as one may not have so many files. */
static void many(long count)
{
    const long each = 15000;
    int done[2];
    char byte = 0;
    struct sockaddr_in6 sink;
    make(SOCK_DGRAM, "127.0.0.1", 4002);
    socklen_t length = address(&sink, "127.0.0.1", 4002);
    CHECK(pipe(done));
    long children = 0;
    for (; children * each < count; children++) {
        if (CHECK(fork()))
            continue;
        char own[32];
        snprintf(own, sizeof own, "127.1.%ld.1", children);
        for (long i = 0; i < each && children * each + i < count; i++) {
            int fd = make(SOCK_DGRAM, own, 20000 + i);
            CHECK(sendto(fd, block, 72, 0, (struct sockaddr *)&sink, length));
        }
        CHECK(write(done[1], &byte, 1));
        CHECK(read(0, &byte, 1));
        _exit(0);
    }
    for (long i = 0; i < children; i++)
        CHECK(read(done[0], &byte, 1));
    printf("ready\n");
    fflush(stdout);
    while (wait(0) > 0)
        ;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        errx(2, "usage: mover HOW COUNT");
    char how[32];
    snprintf(how, sizeof how, "%s", argv[1]);
    size_t last = strlen(how) - 1;
    v6 = how[last] == '6';
    how[last] = 0;
    long count = atol(argv[2]);
    own_namespace();
    say_namespace();
    fflush(stdout);
    if (!strcmp(how, "veth")) {
        between(count);
        return 0;
    }
    if (!strcmp(how, "many")) {
        many(count);
        return 0;
    }
    if (!strcmp(how, "udp")) {
        datagrams(count);
    } else {
        const char *here = v6 ? "::1" : "127.0.0.1";
        int listener = make(SOCK_STREAM, here, 4003);
        CHECK(listen(listener, 1));
        pid_t child = receiver(listener);
        stream(how, here, count);
        CHECK(waitpid(child, 0, 0));
    }
    say_interface("lo");
    return 0;
}
