// Trick: A process moves its code into nameless memory, has the kernel call another file its executable, and deletes the real one.
// Described: prctl(2), PR_SET_MM_MAP and PR_SET_MM_EXE_FILE; T1036.011; "The design and implementation of userland exec", the grugq (2004)
//
// `exefile INNOCENT`: becomes INNOCENT in /proc/self/exe, unlinks the path it was started by, says `done` and waits.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct { unsigned long from, to; int how; } parts[16];

// What the kernel knows of this memory stays as it is, but for the file. In a user namespace of its own anybody may do that.
static void call_it(int file) {
  unsigned long long at[53] = {0};
  char line[4096], *next;
  FILE *stat = fopen("/proc/self/stat", "r");
  if (!fgets(line, sizeof line, stat)) err(99, "stat");
  fclose(stat);
  next = strrchr(line, ')') + 2;
  for (int field = 3; field <= 51 && *next; field++) {
    at[field] = strtoull(next, 0, 10);
    next += strcspn(next, " ") + 1;
  }
  struct prctl_mm_map map = {
    .start_code = at[26], .end_code = at[27], .start_stack = at[28], .start_data = at[45], .end_data = at[46],
    .start_brk = at[47], .brk = (uintptr_t)sbrk(0), .arg_start = at[48], .arg_end = at[49], .env_start = at[50],
    .env_end = at[51], .exe_fd = file,
  };
  if (unshare(CLONE_NEWUSER)) err(99, "unshare");
  if (syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0)) err(99, "PR_SET_MM_MAP");
}

int main(int argc, char **argv) {
  if (argc < 2) return 97;
  char line[8192];
  int count = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, maps)) {
    char r, w, x;
    if (!strstr(line, argv[0]) || count == 16) continue;
    if (sscanf(line, "%lx-%lx %c%c%c", &parts[count].from, &parts[count].to, &r, &w, &x) != 5) return 98;
    parts[count++].how = (r == 'r' ? PROT_READ : 0) | (w == 'w' ? PROT_WRITE : 0) | (x == 'x' ? PROT_EXEC : 0);
  }
  fclose(maps);
  // Each page of the file is replaced by one with the same bytes, also those that run just now.
  for (int i = 0; i < count; i++) {
    size_t size = parts[i].to - parts[i].from;
    char *copy = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) err(99, "mmap");
    if (parts[i].how & PROT_READ) memcpy(copy, (void *)parts[i].from, size);
    if (mprotect(copy, size, parts[i].how)) err(99, "mprotect");
    if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)parts[i].from) == MAP_FAILED) err(99, "mremap");
  }
  int innocent = open(argv[1], O_RDONLY | O_CLOEXEC);
  if (innocent < 0) err(99, "%s", argv[1]);
  call_it(innocent);
  if (unlink(argv[0])) err(99, "unlink");
  printf("done\n");
  fflush(stdout);
  while (getchar() != EOF)
    ;
  return 0;
}
