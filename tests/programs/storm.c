// Many short processes, as fast as it goes: `storm fork|vfork COUNT`, `storm exec COUNT PROGRAM`; `storm births [MOST]`: a
// child each millisecond until a line comes; each child lives until standard input ends, or until there are MOST younger
// ones. Their pids are printed. `storm files COUNT`: children have so many files open, and `open` is said.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void births(size_t most) {
  pid_t *alive = most ? calloc(most, sizeof *alive) : 0, *oldest = alive;
  int hold[2];
  char c;
  struct pollfd stop = {.fd = 0, .events = POLLIN};
  if ((most && !alive) || pipe(hold)) _exit(98);
  setvbuf(stdout, 0, _IOLBF, 0);
  while (poll(&stop, 1, 1) == 0) {
    pid_t child = fork();
    if (child < 0) _exit(98);
    if (!child) {
      close(hold[1]);
      _exit(read(hold[0], &c, 1) == 0 ? 0 : 98);
    }
    printf("%d\n", child);
    if (!alive) continue;
    if (*oldest) kill(*oldest, SIGKILL), waitpid(*oldest, 0, 0);
    *oldest = child;
    if (++oldest == alive + most) oldest = alive;
  }
  while (read(0, &c, 1) == 1 && c != '\n')
    ;
  printf("stopped\n");
  while (read(0, &c, 1) == 1)
    ;
  close(hold[1]);
  while (wait(0) > 0)
    ;
}

// Opens so many, and says so by a byte; ends with `held`.
static void open_files(long count, int ready, int held) {
  int null = open("/dev/null", O_RDONLY);
  char c = 0;
  while (count-- > 0)
    if (dup(null) < 0) _exit(98);
  if (write(ready, "x", 1) != 1) _exit(98);
  _exit(read(held, &c, 1) == 0 ? 0 : 98);
}

static int files(long count) {
  struct rlimit limit;
  int ready[2], held[2], children = 0;
  char c;
  if (pipe(ready) || pipe(held) || getrlimit(RLIMIT_NOFILE, &limit)) return 98;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit)) return 98;
  for (long each = (long)limit.rlim_max - 64; count > 0; count -= each, children++) {
    pid_t child = fork();
    if (child < 0) return 98;
    if (!child) {
      close(held[1]);
      open_files(count < each ? count : each, ready[1], held[0]);
    }
  }
  for (int left = children; left > 0; left--)
    if (read(ready[0], &c, 1) != 1) return 98;
  printf("open\n");
  fflush(stdout);
  while (read(0, &c, 1) == 1)
    ;
  close(held[1]);
  while (wait(0) > 0)
    ;
  return 0;
}

static pid_t one(const char *how, char **program) {
  pid_t child;
  if (!strcmp(how, "exec")) return posix_spawn(&child, program[0], 0, 0, program, environ) ? -1 : child;
  child = *how == 'v' ? vfork() : fork();
  if (!child) _exit(0);
  return child;
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "births")) {
    births(argc > 2 ? atol(argv[2]) : 0);
    return 0;
  }
  if (argc < 3) return 97;
  if (!strcmp(argv[1], "files")) return files(atol(argv[2]));
  for (long left = atol(argv[2]); left > 0; left--) {
    pid_t child = one(argv[1], argv + 3);
    if (child < 0 || waitpid(child, 0, 0) != child) return 98;
  }
  return 0;
}
