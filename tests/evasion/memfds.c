// Trick: So many images without a name that the ring for alerts has no room for the one that matters.
// Described: Documentation/bpf/ringbuf.rst, on a buffer that is full; memfd_create(2); T1562.006 and T1620
//
// `memfds COUNT PROGRAM`: so many children that execute a nameless copy of PROGRAM, one after the other.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
  if (argc < 3) return 97;
  struct stat status;
  int in = open(argv[2], O_RDONLY | O_CLOEXEC), image = memfd_create("storm", MFD_CLOEXEC);
  if (in < 0 || image < 0 || fstat(in, &status)) err(99, "%s", argv[2]);
  for (off_t at = 0; at < status.st_size;)
    if (sendfile(image, in, &at, status.st_size - at) <= 0) err(99, "sendfile");
  for (long left = atol(argv[1]); left > 0; left--) {
    pid_t child = vfork();
    if (!child) {
      syscall(SYS_execveat, image, "", argv + 2, environ, AT_EMPTY_PATH);
      _exit(99);
    }
    if (child < 0 || waitpid(child, 0, 0) != child) err(99, "a child");
  }
  return 0;
}
