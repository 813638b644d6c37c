// Trick: A 64-bit process binds, listens and connects by 32-bit system calls, `int 0x80`, also by `socketcall`.
// Described: seccomp(2), "Caveats", on calls of another interface; arch/x86/entry/syscalls/syscall_32.tbl of Linux; T1106
//
// `int80 plain` or `int80 socketcall`: prints the ports of the listener and of the client, then waits.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

// Numbers of `arch/x86/entry/syscalls/syscall_32.tbl` and of `include/uapi/linux/net.h`.
enum { SOCKETCALL = 102, SOCKET = 359, BIND = 361, CONNECT = 362, LISTEN = 363 };

static int plain;

static long old(long number, long b, long c, long d) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(b), "c"(c), "d"(d), "S"(0L), "D"(0L)
                   : "memory", "r8", "r9", "r10", "r11");
  if (result < 0) { errno = -result; err(99, "call %ld", number); }
  return result;
}

// The call of the table, or the same by `socketcall`, which wants its arguments in memory below 4 GiB.
static long call(long number, long in_net, long b, long c, long d) {
  static unsigned *args;
  if (plain) return old(number, b, c, d);
  if (!args) args = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  args[0] = b; args[1] = c; args[2] = d;
  return old(SOCKETCALL, in_net, (long)args, 0);
}

static void say_port(int fd) {
  struct sockaddr_in is;
  socklen_t size = sizeof is;
  getsockname(fd, (struct sockaddr *)&is, &size);
  printf("port %d\n", ntohs(is.sin_port));
  fflush(stdout);
}

int main(int argc, char **argv) {
  plain = argc > 1 && !strcmp(argv[1], "plain");
  struct sockaddr_in *at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  socklen_t size = sizeof *at;
  *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int listener = call(SOCKET, 1, AF_INET, SOCK_STREAM, 0), client = call(SOCKET, 1, AF_INET, SOCK_STREAM, 0);
  call(BIND, 2, listener, (long)at, size);
  call(LISTEN, 4, listener, 8, 0);
  say_port(listener);
  getsockname(listener, (struct sockaddr *)at, &size);
  call(CONNECT, 3, client, (long)at, size);
  say_port(client);
  while (getchar() != EOF)
    ;
  return 0;
}
