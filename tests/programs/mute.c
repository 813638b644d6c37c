// mute: whoever reads its arguments or its environment waits for ever: in the middle of each is a page that isn't there, and
// that nobody brings (userfaultfd(2)). Writes `runs`, ends with its input.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(call) ({ __typeof__(call) result_ = (call); if (result_ < 0) err(99, "%s", #call); result_; })
#define PAGE 4096UL
#define PADDING (4 * PAGE)

static int faults;

// Takes the first whole page of a long text away.
static void hide(const char *text) {
  unsigned long at = ((unsigned long)text + PAGE - 1) & ~(PAGE - 1);
  struct uffdio_register range = {.range = {.start = at, .len = PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  CHECK(ioctl(faults, UFFDIO_REGISTER, &range));
  CHECK(madvise((void *)at, PAGE, MADV_DONTNEED));
}

int main(int argc, char **argv) {
  char byte;
  if (argc == 1) { // Once more, with long texts.
    char *padding = malloc(PADDING + 1);
    memset(padding, 'x', PADDING);
    padding[PADDING] = 0;
    CHECK(setenv("PADDING", padding, 1));
    execl("/proc/self/exe", argv[0], padding, NULL);
    err(99, "exec");
  }
  faults = CHECK(syscall(SYS_userfaultfd, O_CLOEXEC));
  struct uffdio_api api = {.api = UFFD_API};
  CHECK(ioctl(faults, UFFDIO_API, &api));
  hide(argv[1]);
  hide(getenv("PADDING"));
  puts("runs");
  fflush(stdout);
  while (read(0, &byte, 1) > 0)
    ;
  return 0;
}
