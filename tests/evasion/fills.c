// Trick: So many sockets, threads or processes that what the sensor remembers of the one that matters has to make room.
// Described: Documentation/bpf/map_hash.rst, BPF_MAP_TYPE_LRU_HASH; T1562.006
//
// `fills owners COUNT`: a connection that can't be made yet; so many UDP sockets; then the connection is made. Prints its ports.
// `fills connects COUNT ADDRESS`: so many connected UDP sockets, then one TCP connect to ADDRESS, port 81, which fails.
// `fills untaken COUNT`: so many connections that nobody accepts. Prints the pid and what it did; `done`.
// `fills threads COUNT`: so many threads, one after the other. `fills ended COUNT`: so many processes that live, each with a thread
// that wrote something and ended. All but `threads` say `done` and wait for the end of their input.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// Sockets of one process.
enum { EACH = 18000 };

#define CHECK(call) ({ __typeof__(call) result_ = (call); if (result_ < 0) err(99, "%s", #call); result_; })

static struct sockaddr_in loopback(long host, int port) {
  return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001 + (host << 8))};
}

static int port_of(int fd) {
  struct sockaddr_in is;
  socklen_t size = sizeof is;
  CHECK(getsockname(fd, (struct sockaddr *)&is, &size));
  return ntohs(is.sin_port);
}

static int made(int type, long host) {
  struct sockaddr_in at = loopback(host, 0);
  int fd = CHECK(socket(AF_INET, type, 0));
  CHECK(bind(fd, (struct sockaddr *)&at, sizeof at));
  return fd;
}

static void joined(int fd, struct sockaddr_in to) {
  if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) err(99, "connect");
}

// That many UDP sockets of a child, which waits.
static void others(long host, long count) {
  int ready[2];
  char byte = 0;
  CHECK(pipe(ready));
  if (!CHECK(fork())) {
    for (long i = 0; i < 3; i++) close(i);
    for (long i = 0; i < count; i++) made(SOCK_DGRAM, host);
    CHECK(write(ready[1], &byte, 1));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  CHECK(read(ready[0], &byte, 1));
}

// The queue of a listener with room for one: the second waits until the first was accepted.
static void owners(long count) {
  int server = made(SOCK_STREAM, 0), first = CHECK(socket(AF_INET, SOCK_STREAM, 0));
  int late = CHECK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  CHECK(listen(server, 0));
  joined(first, loopback(0, port_of(server)));
  joined(late, loopback(0, port_of(server)));
  for (long host = 1; count > 0; host++, count -= EACH) others(host, count < EACH ? count : EACH);
  CHECK(accept(server, 0, 0));
  struct pollfd there = {.fd = late, .events = POLLOUT};
  CHECK(poll(&there, 1, 10000));
  printf("port %d\nport %d\n", port_of(server), port_of(late));
}

static void connects(long count, const char *address) {
  struct sockaddr_in to = loopback(0, 9), far = {.sin_family = AF_INET, .sin_port = htons(81)};
  inet_pton(AF_INET, address, &far.sin_addr);
  for (long i = 0; i < count; i++) joined(CHECK(socket(AF_INET, SOCK_DGRAM, 0)), to);
  connect(CHECK(socket(AF_INET, SOCK_STREAM, 0)), (struct sockaddr *)&far, sizeof far);
  printf("errno %d\n", errno);
}

static void untaken(long count) {
  int server = -1;
  for (long i = 0; i < count; i++) {
    if (i % 2000 == 0) {
      server = made(SOCK_STREAM, i / 2000);
      CHECK(listen(server, 4096));
    }
    joined(CHECK(socket(AF_INET, SOCK_STREAM, 0)), loopback(i / 2000, port_of(server)));
  }
}

static void *nothing(void *none) { return none; }
static void *wrote(void *none) {
  int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (write(fd, "x", 1) != 1) _exit(98);
  close(fd);
  return none;
}
static void thread(void *(*what)(void *)) {
  pthread_t one;
  if (pthread_create(&one, 0, what, 0)) err(99, "pthread_create");
  pthread_join(one, 0);
}

static void ended(long count) {
  int born[2], hold[2];
  char byte = 0;
  CHECK(pipe(born)), CHECK(pipe(hold));
  for (long i = 0; i < count; i++) {
    if (CHECK(fork())) continue;
    close(hold[1]);
    thread(wrote);
    _exit(write(born[1], &byte, 1) != 1 || read(hold[0], &byte, 1) != 0);
  }
  for (long i = 0; i < count; i++) CHECK(read(born[0], &byte, 1));
  printf("done\n");
  fflush(stdout);
  while (getchar() != EOF)
    ;
  close(hold[1]);
  while (wait(0) > 0)
    ;
  exit(0);
}

int main(int argc, char **argv) {
  if (argc < 3) return 97;
  long count = atol(argv[2]);
  struct rlimit files;
  CHECK(getrlimit(RLIMIT_NOFILE, &files));
  if (files.rlim_max < EACH + 2000) files.rlim_max = EACH + 2000;
  files.rlim_cur = files.rlim_max;
  CHECK(setrlimit(RLIMIT_NOFILE, &files));
  if (!strcmp(argv[1], "owners")) owners(count);
  if (!strcmp(argv[1], "connects")) connects(count, argv[3]);
  if (!strcmp(argv[1], "untaken")) untaken(count);
  if (!strcmp(argv[1], "ended")) ended(count);
  if (!strcmp(argv[1], "threads")) {
    while (count-- > 0) thread(nothing);
    return 0;
  }
  printf("done\n");
  fflush(stdout);
  while (getchar() != EOF)
    ;
  return 0;
}
