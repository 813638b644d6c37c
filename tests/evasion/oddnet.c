// Trick: A connection without connect(2) (TCP Fast Open), one with itself, one made in repair mode, and one accepted on a stolen listener.
// Described: RFC 7413; RFC 9293, section 3.5; "TCP connection repair", LWN 495304 (2012); pidfd_getfd(2)
//
// `oddnet fastopen`, `self`, `repair`: prints the ports of server and client. `oddnet stolen`: a child takes the listener of its
// parent and accepts; prints the ports and the child's pid. Then it waits.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#define CHECK(call) ({ __typeof__(call) result_ = (call); if (result_ < 0) err(99, "%s", #call); result_; })

static struct sockaddr_in at;
static socklen_t size = sizeof at;

static void say_port(int fd) {
  struct sockaddr_in is;
  socklen_t len = sizeof is;
  CHECK(getsockname(fd, (struct sockaddr *)&is, &len));
  printf("port %d\n", ntohs(is.sin_port));
}

// Bound to a port of loopback; `at` is it.
static int bound(void) {
  int fd = CHECK(socket(AF_INET, SOCK_STREAM, 0));
  at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  CHECK(bind(fd, (struct sockaddr *)&at, size));
  CHECK(getsockname(fd, (struct sockaddr *)&at, &size));
  return fd;
}

static void steal(int listener) {
  pid_t parent = getpid(), child = CHECK(fork());
  int client;
  if (child) {
    CHECK(client = socket(AF_INET, SOCK_STREAM, 0));
    CHECK(connect(client, (struct sockaddr *)&at, size));
    say_port(client);
    printf("pid %d\n", child);
    return;
  }
  close(listener);
  int pidfd = CHECK(syscall(SYS_pidfd_open, parent, 0));
  int stolen = CHECK(syscall(SYS_pidfd_getfd, pidfd, listener, 0));
  CHECK(accept4(stolen, (struct sockaddr *)&at, &size, SOCK_CLOEXEC));
  for (;;) pause();
}

int main(int argc, char **argv) {
  if (argc < 2) return 97;
  int server = bound(), one = 1, client;
  say_port(server);
  if (!strcmp(argv[1], "self")) {
    CHECK(connect(server, (struct sockaddr *)&at, size));
    say_port(server);
  } else {
    CHECK(setsockopt(server, IPPROTO_TCP, TCP_FASTOPEN, &one, sizeof one));
    CHECK(listen(server, 8));
  }
  if (!strcmp(argv[1], "fastopen")) {
    client = CHECK(socket(AF_INET, SOCK_STREAM, 0));
    CHECK(sendto(client, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&at, size));
    say_port(client);
  }
  if (!strcmp(argv[1], "repair")) {
    struct sockaddr_in nowhere = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x7f010203)};
    client = bound();
    CHECK(setsockopt(client, IPPROTO_TCP, TCP_REPAIR, &one, sizeof one));
    CHECK(connect(client, (struct sockaddr *)&nowhere, sizeof nowhere));
    say_port(client);
  }
  if (!strcmp(argv[1], "stolen")) steal(server);
  fflush(stdout);
  while (getchar() != EOF)
    ;
  return 0;
}
