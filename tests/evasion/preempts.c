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

static long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000L + time.tv_nsec;
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
  // What a child takes here at least: others may be at work too.
  long each = 1000000000L;
  for (int made = 0; made < 50; made++) {
    long begin = now();
    child(60);
    long took = now() - begin;
    if (took < each) each = took;
  }
  pid_t ordinary = fork();
  if (ordinary < 0) err(99, "fork");
  if (ordinary == 0) {
    for (long made = 0; made < wanted; made++) child(61);
    _exit(0);
  }
  struct sched_param priority = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0) err(99, "sched_setscheduler");
  long made = 0;
  // Each time at another moment of the ordinary one's child.
  for (; waitpid(ordinary, NULL, WNOHANG) == 0; made++) {
    long pause = each / 4 + made * 7919 % each;
    struct timespec time = {.tv_sec = pause / 1000000000L, .tv_nsec = pause % 1000000000L};
    nanosleep(&time, NULL);
    child(62);
  }
  printf("61: %ld, 62: %ld\n", wanted, made);
  return 0;
}
