// Trick: A storm of renames, so that the one of the running file is lost in it.
// Described: fanotify(7), FAN_Q_OVERFLOW; T1562.006
//
// `renames FOLDER THREADS COUNT`: each thread gives a file of its own another name, and its old one again, so often.
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static long count;
static const char *folder;

static void *storm(void *number) {
  char names[2][4096];
  for (int i = 0; i < 2; i++) snprintf(names[i], sizeof names[i], "%s/storm-%ld-%d", folder, (long)number, i);
  close(open(names[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  for (long i = 0; i < count; i++)
    if (rename(names[i & 1], names[~i & 1])) err(99, "rename");
  unlink(names[count & 1]);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 4) return 97;
  pthread_t thread[16];
  long threads = atol(argv[2]);
  folder = argv[1];
  count = atol(argv[3]);
  for (long i = 0; i < threads; i++) pthread_create(&thread[i], 0, storm, (void *)i);
  for (long i = 0; i < threads; i++) pthread_join(thread[i], 0);
  return 0;
}
