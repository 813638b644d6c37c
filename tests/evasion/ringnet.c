// Trick: Sockets that are made, bound, connected and accepted by io_uring alone, polled by the kernel, and never have a descriptor.
// Described: The proof of concept "curing" of ARMO (2025); io_uring_enter(2); io_uring_register(2), IORING_REGISTER_FILES
//
// `ringnet FLAGS`: the flags of io_uring_setup(2) as a number. Prints the ports of the listener and of the client, then waits.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OP_SOCKET = 45, OP_BIND = 56, OP_LISTEN = 57 };

static int ring;
static char *sq, *cq;
static struct io_uring_sqe *entries;
static struct io_uring_params params;

static void set_up(unsigned flags) {
  int none[3] = {-1, -1, -1}, prot = PROT_READ | PROT_WRITE;
  params = (struct io_uring_params){.flags = flags, .sq_thread_idle = 2000};
  if ((ring = syscall(SYS_io_uring_setup, 4, &params)) < 0) err(99, "io_uring_setup");
  sq = mmap(0, params.sq_off.array + params.sq_entries * 4, prot, MAP_SHARED, ring, IORING_OFF_SQ_RING);
  cq = mmap(0, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), prot, MAP_SHARED, ring, IORING_OFF_CQ_RING);
  entries = mmap(0, params.sq_entries * sizeof *entries, prot, MAP_SHARED, ring, IORING_OFF_SQES);
  if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, none, 3) < 0) err(99, "io_uring_register");
}

static void done(const char *what, struct io_uring_sqe request) {
  static unsigned count;
  unsigned mask = *(unsigned *)(sq + params.sq_off.ring_mask);
  entries[count & mask] = request;
  ((unsigned *)(sq + params.sq_off.array))[count & mask] = count & mask;
  __atomic_store_n((unsigned *)(sq + params.sq_off.tail), count + 1, __ATOMIC_SEQ_CST);
  unsigned flags = IORING_ENTER_GETEVENTS | (params.flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0);
  if (syscall(SYS_io_uring_enter, ring, 1, 1, flags, 0, 0) < 0) err(99, "%s", what);
  while (__atomic_load_n((unsigned *)(cq + params.cq_off.tail), __ATOMIC_ACQUIRE) <= count)
    ;
  struct io_uring_cqe *event = (struct io_uring_cqe *)(cq + params.cq_off.cqes) + (count & *(unsigned *)(cq + params.cq_off.ring_mask));
  __atomic_store_n((unsigned *)(cq + params.cq_off.head), ++count, __ATOMIC_RELEASE);
  if (event->res < 0) {
    printf("failed %d %s\n", -event->res, what);
    fflush(stdout);
    exit(0);
  }
}

// A port that is free: nothing tells the one of a socket without a descriptor.
static struct sockaddr_in *free_port(void) {
  struct sockaddr_in *at = calloc(1, sizeof *at);
  socklen_t size = sizeof *at;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(fd, (struct sockaddr *)at, size) || getsockname(fd, (struct sockaddr *)at, &size)) err(99, "a port");
  close(fd);
  return at;
}

static struct io_uring_sqe on(int slot, int op, struct sockaddr_in *at) {
  return (struct io_uring_sqe){.opcode = op, .flags = IOSQE_FIXED_FILE, .fd = slot, .addr = (uintptr_t)at};
}
static void new_socket(int slot) {
  done("socket", (struct io_uring_sqe){.opcode = OP_SOCKET, .fd = AF_INET, .off = SOCK_STREAM, .file_index = slot + 1});
}
static void bound(int slot, struct sockaddr_in *at) {
  struct io_uring_sqe request = on(slot, OP_BIND, at);
  request.addr2 = sizeof *at;
  done("bind", request);
}

int main(int argc, char **argv) {
  struct sockaddr_in *server = free_port(), *client = free_port();
  set_up(argc > 1 ? strtoul(argv[1], 0, 0) : 0);
  new_socket(0);
  bound(0, server);
  struct io_uring_sqe request = on(0, OP_LISTEN, 0);
  request.len = 8;
  done("listen", request);
  new_socket(1);
  bound(1, client);
  request = on(1, IORING_OP_CONNECT, server);
  request.off = sizeof *server;
  done("connect", request);
  request = on(0, IORING_OP_ACCEPT, 0);
  request.file_index = 3;
  done("accept", request);
  printf("port %d\nport %d\n", ntohs(server->sin_port), ntohs(client->sin_port));
  fflush(stdout);
  while (getchar() != EOF)
    ;
  return 0;
}
