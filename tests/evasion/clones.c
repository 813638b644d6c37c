// Trick: A child born by `clone` with odd flags, which share memory, files or signals without being a thread, deletes its own image.
// Described: clone(2): CLONE_VM without CLONE_THREAD, CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_PARENT, CLONE_UNTRACED; T1106
//
// `clones FLAGS PATH`: the flags as a number; the child unlinks PATH and ends; its pid is printed.
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(void *path) { return unlink(path) < 0; }

int main(int argc, char **argv) {
  if (argc < 3) return 97;
  int flags = strtol(argv[1], 0, 0), status = 0;
  char *stack = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pid_t pid = clone(child, stack + 65536, flags, argv[2]);
  if (pid < 0) err(99, "clone");
  // Also of one that tells nobody of its end; one that was given to our parent is that one's to wait for.
  if (waitpid(pid, &status, __WALL) < 0 && errno != ECHILD) err(99, "waitpid");
  printf("%d\n", pid);
  fflush(stdout);
  while (getchar() != EOF)
    ;
  return WEXITSTATUS(status);
}
