// Trick: A real-time thread takes the processor from a program of the sensor's while it is under way, and does there what that program would tell.
// Described: sched(7), SCHED_FIFO; kernel/trace/bpf_trace.c, __bpf_trace_run (a program that is under way on a processor is skipped)
//
// `preempts COUNT`: on one processor COUNT children of an ordinary process end with 61, and meanwhile children of one of real-time priority,
// that a timer wakes, with 62. How many of each is printed.
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void child(int status) {
  pid_t pid = fork();
  if (pid < 0) err(99, "fork");
  if (pid == 0) _exit(status);
  if (waitpid(pid, NULL, 0) < 0) err(99, "waitpid");
}

int main(int argc, char **argv) {
  if (argc != 2) return 97;
  long wanted = atol(argv[1]);
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) < 0) err(99, "sched_getaffinity");
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &allowed)) { CPU_SET(cpu, &one); break; }
  if (sched_setaffinity(0, sizeof one, &one) < 0) err(99, "sched_setaffinity");
  pid_t ordinary = fork();
  if (ordinary < 0) err(99, "fork");
  if (ordinary == 0) {
    for (long made = 0; made < wanted; made++) child(61);
    _exit(0);
  }
  struct sched_param priority = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0) err(99, "sched_setscheduler");
  long made = 0;
  // Longer from time to time than the ordinary one needs for a child, so that it goes on, and each time another moment of it.
  for (; waitpid(ordinary, NULL, WNOHANG) == 0; made++) {
    struct timespec pause = {.tv_nsec = 40000 + made * 7919 % 300000};
    nanosleep(&pause, NULL);
    child(62);
  }
  printf("61: %ld, 62: %ld\n", wanted, made);
  return 0;
}
