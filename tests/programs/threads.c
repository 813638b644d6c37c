// What threads do to their process: `threads exec PROGRAM ARG...`, `threads exit-group CODE`, `threads leader-first CODE`,
// `threads idle COUNT`, `threads burn COUNT MS`, `threads unlink PATH [wait]`, `threads write COUNT BYTES PATH`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char **words;

static void line(void) {
  char c;
  while (read(0, &c, 1) == 1 && c != '\n')
    ;
}
static void *do_exec(void *none) {
  execv(words[0], words);
  _exit(99);
}
static void *do_exit_group(void *none) {
  syscall(SYS_exit_group, atoi(words[0]));
  return none;
}
// The leader is a zombie by now; the process lives on until a line comes.
static void *outlive(void *none) {
  dprintf(1, "alone\n");
  line();
  syscall(SYS_exit_group, atoi(words[0]));
  return none;
}
static void *idle(void *none) { return none; }
static void *burn(void *none) {
  struct timespec t;
  do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  while (t.tv_sec * 1000 + t.tv_nsec / 1000000 < atol(words[1]));
  return none;
}
static void *do_write(void *none) {
  long size = atol(words[1]);
  int fd = open(words[2], O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (fd < 0 || write(fd, calloc(1, size), size) != size) _exit(99);
  return none;
}
static void *do_unlink(void *none) {
  dprintf(1, "%ld\n", (long)syscall(SYS_gettid));
  if (unlink(words[0])) _exit(99);
  return none;
}

static void start(int count, void *(*what)(void *)) {
  pthread_t thread[64];
  for (int i = 0; i < count; i++)
    if (pthread_create(&thread[i], 0, what, 0)) _exit(98);
  for (int i = 0; i < count; i++) pthread_join(thread[i], 0);
}

int main(int argc, char **argv) {
  if (argc < 3) return 97;
  pthread_t thread;
  words = argv + 2;
  if (!strcmp(argv[1], "exec")) start(1, do_exec);
  if (!strcmp(argv[1], "exit-group")) start(1, do_exit_group);
  if (!strcmp(argv[1], "idle")) start(atoi(words[0]), idle);
  if (!strcmp(argv[1], "burn")) start(atoi(words[0]), burn);
  if (!strcmp(argv[1], "unlink")) {
    if (argc > 3) line();
    start(1, do_unlink);
    line();
  }
  if (!strcmp(argv[1], "write")) {
    start(atoi(words[0]), do_write);
    dprintf(1, "did\n");
    line();
    start(atoi(words[0]), do_write);
  }
  if (!strcmp(argv[1], "leader-first")) {
    if (pthread_create(&thread, 0, outlive, 0)) return 98;
    pthread_exit(0);
  }
  return 0;
}
