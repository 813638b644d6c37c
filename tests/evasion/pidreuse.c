// Trick: Who did it ends at once, and an innocent process is given its pid, to be blamed for it.
// Described: pidfd_open(2); CVE-2019-6133 (polkit); clone3(2), set_tid; proc_sys_kernel(5), ns_last_pid
//
// `pidreuse VICTIM INNOCENT WORD…`: a child with a pid of its own unlinks VICTIM; INNOCENT then runs with that very pid. The pid is printed.
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct clone3_args {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size;
};

static pid_t born(pid_t wanted) {
  struct clone3_args how = {.exit_signal = SIGCHLD};
  if (wanted) { how.set_tid = (uintptr_t)&wanted; how.set_tid_size = 1; }
  pid_t pid = syscall(SYS_clone3, &how, sizeof how);
  if (pid < 0) err(99, "clone3");
  return pid;
}

int main(int argc, char **argv) {
  if (argc < 3) return 97;
  // A pid that is free: that of one that has just ended.
  pid_t pid = born(0);
  if (!pid) _exit(0);
  waitpid(pid, 0, 0);
  if (!born(pid)) _exit(unlink(argv[1]) < 0);
  waitpid(pid, 0, 0);
  if (!born(pid)) { execv(argv[2], argv + 2); _exit(99); }
  printf("%d\n", pid);
  fflush(stdout);
  waitpid(pid, 0, 0);
  return 0;
}
