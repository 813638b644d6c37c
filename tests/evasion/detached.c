// Trick: An image on a file system that is mounted nowhere: no path leads to it, and no list of mounts has it.
// Described: fsmount(2), open_tree(2) with OPEN_TREE_CLONE; "Six (or seven) new system calls for filesystem mounting", LWN 759499 (2018)
//
// `detached tmpfs SOURCE WORD…`: a new file system with a copy of SOURCE; `detached tree FOLDER WORD…`: a copy of the mount of
// FOLDER. `payload` in it is executed with these words; descriptor 9 is its root.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#define CHECK(call) ({ __typeof__(call) result_ = (call); if (result_ < 0) err(99, "%s", #call); result_; })

extern char **environ;

static int new_tmpfs(const char *source) {
  int fs = CHECK(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC));
  CHECK(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0));
  int root = CHECK(syscall(SYS_fsmount, fs, 0, 0));
  struct stat status;
  int in = CHECK(open(source, O_RDONLY | O_CLOEXEC));
  int out = CHECK(openat(root, "payload", O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
  CHECK(fstat(in, &status));
  for (off_t at = 0; at < status.st_size;) CHECK(sendfile(out, in, &at, status.st_size - at));
  close(out);
  return root;
}

int main(int argc, char **argv) {
  if (argc < 4) return 97;
  int tree = !strcmp(argv[1], "tree");
  int root = tree ? CHECK(syscall(SYS_open_tree, AT_FDCWD, argv[2], OPEN_TREE_CLONE)) : new_tmpfs(argv[2]);
  CHECK(dup2(root, 9));
  argv[2] = "payload";
  CHECK(syscall(SYS_execveat, 9, "payload", argv + 2, environ, 0));
}
