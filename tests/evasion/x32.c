// Trick: System calls by the numbers of the x32 interface, which filters of 64-bit numbers don't know.
// Described: seccomp(2), "Caveats": X32_SYSCALL_BIT; CVE-2014-0038 for what that interface was good for
//
// `x32 VICTIM MOVED OTHER`: unlinks VICTIM, renames MOVED to OTHER, connects to a listener of its own; prints the errno of each,
// 0 for none, then the port, then waits.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { X32 = 0x40000000 };

static void say(long result) { printf("%d\n", result < 0 ? errno : 0); }

int main(int argc, char **argv) {
  if (argc < 4) return 97;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 1)) err(99, "a listener");
  getsockname(listener, (struct sockaddr *)&at, &size);
  say(syscall(X32 | SYS_unlink, argv[1]));
  say(syscall(X32 | SYS_rename, argv[2], argv[3]));
  say(syscall(X32 | SYS_connect, client, &at, size));
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  while (getchar() != EOF)
    ;
  return 0;
}
