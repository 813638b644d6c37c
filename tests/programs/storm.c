// Many short processes, as fast as it goes: `storm fork|vfork COUNT`, `storm exec COUNT PROGRAM`; `storm births`: a child
// each millisecond until a line comes; each child lives until standard input ends. Their pids are printed.
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void births(void) {
  int hold[2];
  char c;
  struct pollfd stop = {.fd = 0, .events = POLLIN};
  if (pipe(hold)) _exit(98);
  setvbuf(stdout, 0, _IOLBF, 0);
  while (poll(&stop, 1, 1) == 0) {
    pid_t child = fork();
    if (child < 0) _exit(98);
    if (!child) {
      close(hold[1]);
      _exit(read(hold[0], &c, 1) == 0 ? 0 : 98);
    }
    printf("%d\n", child);
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

static pid_t one(const char *how, char **program) {
  pid_t child;
  if (!strcmp(how, "exec")) return posix_spawn(&child, program[0], 0, 0, program, environ) ? -1 : child;
  child = *how == 'v' ? vfork() : fork();
  if (!child) _exit(0);
  return child;
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "births")) {
    births();
    return 0;
  }
  if (argc < 3) return 97;
  for (long left = atol(argv[2]); left > 0; left--) {
    pid_t child = one(argv[1], argv + 3);
    if (child < 0 || waitpid(child, 0, 0) != child) return 98;
  }
  return 0;
}
