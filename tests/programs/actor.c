// Does what its arguments say, step by step: `actor unlink PATH wait exit 3`.
// A step that fails ends it with status 99, unless `try` stands before the step.
// Steps with words of their own (`fork`, `run`, `exec`, ...) take their number first: `fork 2 unlink PATH`.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

extern char **environ;
static char *first_arg, *last_arg;
static void steps(int n, char **a);

// Arguments of a step: its fixed ones, then `n` nested words `w` (NULL at their end).
typedef long act(char **a, int n, char **w);

static long say(char **a, int n, char **w) { return dprintf(1, "%s\n", a[0]); }
static long ignore(char **a, int n, char **w) { return 0; }
static long pid(char **a, int n, char **w) { return dprintf(1, "%d\n", getpid()); }

// Waits for a line, or the end, of standard input.
static long wait_line(char **a, int n, char **w) {
  char c;
  while (read(0, &c, 1) == 1 && c != '\n')
    ;
  return 0;
}

// Waits until standard input ends, and leaves what comes there to others.
static long hang(char **a, int n, char **w) {
  struct pollfd end = {.fd = 0};
  while (poll(&end, 1, -1) < 0)
    ;
  return 0;
}

// Lives so many milliseconds more.
static long nap(char **a, int n, char **w) {
  struct timespec time = {.tv_nsec = atol(a[0]) * 1000000};
  return nanosleep(&time, 0);
}

static long leave(char **a, int n, char **w) { _exit(atoi(a[0])); }
static long send_self(char **a, int n, char **w) { return kill(getpid(), atoi(a[0])); }
static long segv(char **a, int n, char **w) { return *(volatile int *)8; }

// ---- names ----
static int folder(const char *path, const char **name) {
  char *copy = strdup(path), *slash = strrchr(copy, '/');
  if (!slash) { *name = path; return AT_FDCWD; }
  *name = path + (slash - copy) + 1;
  *(slash == copy ? slash + 1 : slash) = 0;
  return open(copy, O_PATH | O_DIRECTORY | O_CLOEXEC);
}
static long do_unlink(char **a, int n, char **w) { return syscall(SYS_unlink, a[0]); }
static long do_unlinkat(char **a, int n, char **w) {
  const char *name;
  int dir = folder(a[0], &name);
  return syscall(SYS_unlinkat, dir, name, 0);
}
static long do_rename(char **a, int n, char **w) { return syscall(SYS_rename, a[0], a[1]); }
static long do_renameat(char **a, int n, char **w) {
  const char *from, *to;
  int d = folder(a[0], &from), e = folder(a[1], &to);
  return syscall(SYS_renameat, d, from, e, to);
}
static long do_renameat2(char **a, int n, char **w) {
  return syscall(SYS_renameat2, AT_FDCWD, a[0], AT_FDCWD, a[1], 0);
}
static long do_exchange(char **a, int n, char **w) {
  return syscall(SYS_renameat2, AT_FDCWD, a[0], AT_FDCWD, a[1], RENAME_EXCHANGE);
}
static long do_link(char **a, int n, char **w) { return link(a[0], a[1]); }

// ---- io_uring, by hand: one request, its result ----
static unsigned ring_flags;
static long sqpoll(char **a, int n, char **w) { return ring_flags = IORING_SETUP_SQPOLL; }

static long ring(struct io_uring_sqe request) {
  struct io_uring_params p = {.flags = ring_flags, .sq_thread_idle = 1000};
  int fd = syscall(SYS_io_uring_setup, 4, &p);
  if (fd < 0) return -1;
  char *sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
  char *cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  IORING_OFF_CQ_RING);
  struct io_uring_sqe *sqes = mmap(0, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
  sqes[0] = request;
  *(unsigned *)(sq + p.sq_off.array) = 0;
  __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
  unsigned flags = IORING_ENTER_GETEVENTS | (ring_flags ? IORING_ENTER_SQ_WAKEUP : 0);
  if (syscall(SYS_io_uring_enter, fd, 1, 1, flags, 0, 0) < 0) return -1;
  while (!__atomic_load_n((unsigned *)(cq + p.cq_off.tail), __ATOMIC_ACQUIRE))
    ;
  long result = ((struct io_uring_cqe *)(cq + p.cq_off.cqes))->res;
  close(fd);
  if (result < 0) { errno = -result; return -1; }
  return result;
}
static long ring_unlink(char **a, int n, char **w) {
  return ring((struct io_uring_sqe){.opcode = IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)a[0]});
}
static long ring_move(char **a, unsigned flags) {
  return ring((struct io_uring_sqe){.opcode = IORING_OP_RENAMEAT, .fd = AT_FDCWD, .addr = (uintptr_t)a[0],
                                    .len = AT_FDCWD, .addr2 = (uintptr_t)a[1], .rename_flags = flags});
}
static long ring_rename(char **a, int n, char **w) { return ring_move(a, 0); }
static long ring_exchange(char **a, int n, char **w) { return ring_move(a, RENAME_EXCHANGE); }

// ---- the 32-bit system calls, from 64-bit code: words must lie below 4 GiB ----
#ifdef __x86_64__
static long low(const char *text) {
  char *at = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  return (long)strcpy(at, text);
}
static long old(long number, long b, long c, long d, long s, long e) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(b), "c"(c), "d"(d), "S"(s), "D"(e)
                   : "memory", "r8", "r9", "r10", "r11");
  if (result < 0) { errno = -result; return -1; }
  return result;
}
static long old_unlink(char **a, int n, char **w) { return old(10, low(a[0]), 0, 0, 0, 0); }
static long old_unlinkat(char **a, int n, char **w) { return old(301, AT_FDCWD, low(a[0]), 0, 0, 0); }
static long old_rename(char **a, int n, char **w) { return old(38, low(a[0]), low(a[1]), 0, 0, 0); }
static long old_renameat(char **a, int n, char **w) { return old(302, AT_FDCWD, low(a[0]), AT_FDCWD, low(a[1]), 0); }
static long old_exchange(char **a, int n, char **w) {
  return old(353, AT_FDCWD, low(a[0]), AT_FDCWD, low(a[1]), RENAME_EXCHANGE);
}
#else
static long old_unlink(char **a, int n, char **w) { errno = ENOSYS; return -1; }
#define old_unlinkat old_unlink
#define old_rename old_unlink
#define old_renameat old_unlink
#define old_exchange old_unlink
#endif

// ---- processes ----
static long reap(pid_t child) {
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 99) _exit(99);
  return 0;
}
static void born(int n, char **w) { steps(n, w); _exit(0); }

static long do_fork(char **a, int n, char **w) {
  pid_t child = fork();
  if (!child) born(n, w);
  return child < 0 ? -1 : reap(child);
}
// As fork, and doesn't wait for the child.
static long leave_child(char **a, int n, char **w) {
  pid_t child = fork();
  if (!child) born(n, w);
  return child;
}
static long do_vfork(char **a, int n, char **w) {
  pid_t child = vfork();
  if (!child) { execv(w[0], w); _exit(99); }
  return child < 0 ? -1 : reap(child);
}
static long raw_clone(unsigned long flags, int n, char **w) {
  long child = syscall(SYS_clone, flags, 0, 0, 0, 0);
  if (!child) born(n, w);
  return child;
}
static long do_clone(char **a, int n, char **w) {
  long child = raw_clone(SIGCHLD, n, w);
  return child < 0 ? -1 : reap(child);
}
// The child becomes a child of our parent: nobody here can wait for it.
static long clone_parent(char **a, int n, char **w) { return raw_clone(CLONE_PARENT | SIGCHLD, n, w); }

struct clone3_args {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size;
};
static long three(struct clone3_args how, int n, char **w) {
  how.exit_signal = SIGCHLD;
  long child = syscall(SYS_clone3, &how, sizeof how);
  if (!child) born(n, w);
  return child < 0 ? -1 : reap(child);
}
static long do_clone3(char **a, int n, char **w) { return three((struct clone3_args){0}, n, w); }
// A child with the pid that we choose.
static long clone_at(char **a, int n, char **w) {
  pid_t wanted = atoi(a[0]);
  return three((struct clone3_args){.set_tid = (uintptr_t)&wanted, .set_tid_size = 1}, n, w);
}
static long spawn(char **a, int n, char **w) {
  pid_t child;
  errno = posix_spawn(&child, w[0], 0, 0, w, environ);
  return errno ? -1 : child;
}
static long run(char **a, int n, char **w) {
  pid_t child = spawn(a, n, w);
  return child < 0 ? -1 : reap(child);
}
static long in_pty(char **a, int n, char **w) {
  int master;
  pid_t child = forkpty(&master, 0, 0, 0);
  if (!child) born(n, w);
  if (child < 0) return -1;
  struct pollfd on[2] = {{.fd = 0, .events = POLLIN}, {.fd = master, .events = POLLIN}};
  char text[4096];
  while (poll(on, 2, -1) > 0) {
    ssize_t got;
    if (on[0].revents) {
      got = read(0, text, sizeof text);
      if (got <= 0) { on[0].fd = -1; got = 1; text[0] = '\n'; }
      if (write(master, text, got) < 0) break;
    }
    if (on[1].revents) {
      if ((got = read(master, text, sizeof text)) <= 0) break;
      if (write(1, text, got) < 0) break;
    }
  }
  return reap(child);
}

// ---- images ----
static long pour(const char *from, int out) {
  char text[65536];
  ssize_t got;
  int in = open(from, O_RDONLY | O_CLOEXEC);
  if (in < 0) return -1;
  while ((got = read(in, text, sizeof text)) > 0)
    if (write(out, text, got) != got) return -1;
  close(in);
  return got;
}
static long copy(char **a, int n, char **w) {
  int out = open(a[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  return out < 0 || pour(a[0], out) < 0 || fchmod(out, 0755) < 0 || close(out) < 0 ? -1 : 0;
}
static long at_fd(int fd, char **w) { return fd < 0 ? -1 : syscall(SYS_execveat, fd, "", w, environ, AT_EMPTY_PATH); }
static long do_exec(char **a, int n, char **w) { return execve(w[0], w, environ); }
// exec PATH with an argv[0] that isn't the path.
static long exec_as(char **a, int n, char **w) { return execve(a[0], w, environ); }
static long exec_null(char **a, int n, char **w) { return syscall(SYS_execve, a[0], NULL, NULL); }
static long exec_empty(char **a, int n, char **w) { char *none[] = {NULL}; return syscall(SYS_execve, a[0], none, none); }
static long exec_fd(char **a, int n, char **w) { return at_fd(open(a[0], O_RDONLY | O_CLOEXEC), w); }
// A private, writable anonymous file made into an image: memfd NAME SOURCE N ...
static int filled_memfd(char **a) {
  int fd = memfd_create(a[0], MFD_CLOEXEC);
  return fd < 0 || pour(a[1], fd) < 0 ? -1 : fd;
}
static long from_memfd(char **a, int n, char **w) { return at_fd(filled_memfd(a), w); }
static long from_memfd_proc(char **a, int n, char **w) {
  char path[64];
  int fd = filled_memfd(a);
  if (fd < 0) return -1;
  sprintf(path, "/proc/self/fd/%d", fd);
  return execve(path, w, environ);
}
// O_TMPFILE in a folder: tmpfile FOLDER SOURCE N ...
static long from_tmpfile(char **a, int n, char **w) {
  char path[64];
  int out = open(a[0], O_TMPFILE | O_RDWR | O_CLOEXEC, 0755);
  if (out < 0 || pour(a[1], out) < 0 || fchmod(out, 0755) < 0) return -1;
  sprintf(path, "/proc/self/fd/%d", out);
  int in = open(path, O_RDONLY | O_CLOEXEC);
  close(out);
  return at_fd(in, w);
}
static long from_unlinked(char **a, int n, char **w) {
  int fd = open(a[0], O_RDONLY | O_CLOEXEC);
  return fd < 0 || unlink(a[0]) < 0 ? -1 : at_fd(fd, w);
}
static long from_unlinked_proc(char **a, int n, char **w) {
  char path[64];
  int fd = open(a[0], O_RDONLY);
  if (fd < 0 || unlink(a[0]) < 0) return -1;
  sprintf(path, "/proc/self/fd/%d", fd);
  return execve(path, w, environ);
}

// ---- who and where ----
static long become(char **a, int n, char **w) {
  int id = atoi(a[0]);
  return setgroups(0, 0) || setresgid(id, id, id) || setresuid(id, id, id) ? -1 : 0;
}
static long no_new_privs(char **a, int n, char **w) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }
// From the next exec on: root has all but this capability.
static long drop_cap(char **a, int n, char **w) { return prctl(PR_CAPBSET_DROP, atoi(a[0]), 0, 0, 0); }
// From now on the kernel does this with a system call, if its first argument is that one (- for any).
static long filter(const char *call, const char *first, unsigned what) {
  int any = *first == '-';
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(call), 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, any ? offsetof(struct seccomp_data, nr) : offsetof(struct seccomp_data, args[0])),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, any ? atoi(call) : atoi(first), 0, 1),
    BPF_STMT(BPF_RET | BPF_K, what),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {.len = sizeof code / sizeof *code, .filter = code};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}
// refuse CALL FIRST ERRNO: the call fails so.
static long refuse(char **a, int n, char **w) { return filter(a[0], a[1], SECCOMP_RET_ERRNO | atoi(a[2])); }
// traced CALL FIRST: who started this one is asked first.
static long traced(char **a, int n, char **w) {
  return ptrace(PTRACE_TRACEME, 0, 0, 0) ? -1 : filter(a[0], a[1], SECCOMP_RET_TRACE);
}
static long loginuid(char **a, int n, char **w) {
  int fd = open("/proc/self/loginuid", O_WRONLY | O_CLOEXEC);
  return fd < 0 || write(fd, a[0], strlen(a[0])) < 0 ? -1 : close(fd);
}
static long new_spaces(char **a, int n, char **w) {
  return unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS);
}
static long new_session(char **a, int n, char **w) { return setsid(); }
static long do_chdir(char **a, int n, char **w) { return chdir(a[0]); }
// deep NAME COUNT: that many folders of that name, one in the other, and into the last.
static long deep(char **a, int n, char **w) {
  for (int i = atoi(a[1]); i > 0; i--)
    if ((mkdir(a[0], 0755) && errno != EEXIST) || chdir(a[0])) return -1;
  return 0;
}
// Overwrites the memory that holds our arguments; it keeps what is left to do.
static char *scribbled[256];
static long scribble(char **a, int n, char **w) {
  size_t fill = strlen(a[0]);
  char *text = strdup(a[0]);
  for (char **arg = scribbled; *arg; arg++) *arg = strdup(*arg);
  for (char *at = first_arg; at < last_arg; at++) *at = text[(at - first_arg) % fill];
  return 0;
}
static long rename_self(char **a, int n, char **w) { return prctl(PR_SET_NAME, a[0], 0, 0, 0); }

// ---- work ----
static long cpu(char **a, int n, char **w) {
  struct timespec t;
  do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  while (t.tv_sec * 1000 + t.tv_nsec / 1000000 < atol(a[0]));
  return 0;
}
static long touch(char **a, int n, char **w) {
  size_t size = atol(a[0]) << 20;
  char *at = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return -1;
  memset(at, 1, size);
  return munmap(at, size);
}
static long fill(const char *path, long left, int flags) {
  long chunk = left < 65536 ? left : 65536;
  char *from = aligned_alloc(4096, 65536);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0644);
  if (fd < 0) return -1;
  memset(from, 7, chunk);
  for (; left > 0; left -= chunk)
    if (write(fd, from, chunk < left ? chunk : left) < 0) return -1;
  return close(fd);
}
static long do_write(char **a, int n, char **w) { return fill(a[0], atol(a[1]), 0); }
static long direct(char **a, int n, char **w) { return fill(a[0], atol(a[1]), O_DIRECT); }
// Waits until the file is on the disk.
static long do_sync(char **a, int n, char **w) {
  int fd = open(a[0], O_RDONLY | O_CLOEXEC);
  return fd < 0 || fsync(fd) < 0 ? -1 : close(fd);
}
// mapped PATH BYTES: writes without a call, into mapped memory.
static long mapped(char **a, int n, char **w) {
  long size = atol(a[1]);
  int fd = open(a[0], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || ftruncate(fd, size) < 0) return -1;
  char *at = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return -1;
  memset(at, 7, size);
  return msync(at, size, MS_SYNC) < 0 || munmap(at, size) < 0 ? -1 : close(fd);
}
// Maps a file so that it can be executed.
static long code(char **a, int n, char **w) {
  struct stat facts;
  int fd = open(a[0], O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &facts) < 0) return -1;
  void *at = mmap(NULL, facts.st_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  return at == MAP_FAILED ? -1 : close(fd);
}
// So many bytes of memory that can be executed, and are of no file.
static long code_memory(char **a, int n, char **w) {
  void *at = mmap(NULL, atol(a[0]), PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? -1 : 0;
}
// Fills so many megabytes of its own memory, and keeps them.
static long hold(char **a, int n, char **w) {
  size_t size = (size_t)atoi(a[0]) << 20;
  char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return -1;
  memset(at, 7, size);
  return 0;
}
// Has the kernel forget what it keeps of the file in memory.
static long cool(char **a, int n, char **w) {
  int fd = open(a[0], O_RDONLY | O_CLOEXEC);
  return fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) ? -1 : close(fd);
}
static long do_read(char **a, int n, char **w) {
  char text[65536];
  int fd = open(a[0], O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  while (read(fd, text, sizeof text) > 0)
    ;
  return close(fd);
}

static const struct { const char *name; int fixed, nested; act *run; } table[] = {
  {"say", 1, 0, say}, {"ignore", 1, 0, ignore}, {"pid", 0, 0, pid}, {"wait", 0, 0, wait_line}, {"hang", 0, 0, hang},
  {"exit", 1, 0, leave}, {"signal", 1, 0, send_self}, {"segv", 0, 0, segv},
  {"nap", 1, 0, nap}, {"unlink", 1, 0, do_unlink}, {"unlinkat", 1, 0, do_unlinkat}, {"rename", 2, 0, do_rename},
  {"renameat", 2, 0, do_renameat}, {"renameat2", 2, 0, do_renameat2}, {"exchange", 2, 0, do_exchange},
  {"link", 2, 0, do_link},
  {"sqpoll", 0, 0, sqpoll}, {"ring-unlink", 1, 0, ring_unlink}, {"ring-rename", 2, 0, ring_rename},
  {"ring-exchange", 2, 0, ring_exchange},
  {"unlink32", 1, 0, old_unlink}, {"unlinkat32", 1, 0, old_unlinkat}, {"rename32", 2, 0, old_rename},
  {"renameat32", 2, 0, old_renameat}, {"exchange32", 2, 0, old_exchange},
  {"fork", 0, 1, do_fork}, {"leave", 0, 1, leave_child}, {"vfork", 0, 1, do_vfork}, {"clone", 0, 1, do_clone},
  {"clone-parent", 0, 1, clone_parent}, {"clone3", 0, 1, do_clone3}, {"clone-at", 1, 1, clone_at},
  {"spawn", 0, 1, spawn}, {"run", 0, 1, run}, {"pty", 0, 1, in_pty},
  {"copy", 2, 0, copy}, {"exec", 0, 1, do_exec}, {"exec-as", 1, 1, exec_as}, {"exec-null", 1, 0, exec_null},
  {"exec-empty", 1, 0, exec_empty}, {"exec-fd", 1, 1, exec_fd}, {"memfd", 2, 1, from_memfd},
  {"memfd-proc", 2, 1, from_memfd_proc}, {"tmpfile", 2, 1, from_tmpfile}, {"unlinked", 1, 1, from_unlinked},
  {"unlinked-proc", 1, 1, from_unlinked_proc},
  {"become", 1, 0, become}, {"no-new-privs", 0, 0, no_new_privs}, {"drop-cap", 1, 0, drop_cap},
  {"refuse", 3, 0, refuse}, {"traced", 2, 0, traced}, {"loginuid", 1, 0, loginuid},
  {"new-spaces", 0, 0, new_spaces}, {"new-session", 0, 0, new_session}, {"chdir", 1, 0, do_chdir},
  {"deep", 2, 0, deep}, {"scribble", 1, 0, scribble}, {"rename-self", 1, 0, rename_self},
  {"cpu", 1, 0, cpu}, {"touch", 1, 0, touch}, {"write", 2, 0, do_write}, {"direct", 2, 0, direct}, {"read", 1, 0, do_read},
  {"sync", 1, 0, do_sync}, {"mapped", 2, 0, mapped}, {"cool", 1, 0, cool}, {"hold", 1, 0, hold},
  {"code", 1, 0, code}, {"code-memory", 1, 0, code_memory},
};

static void wrong(const char *step, const char *why) {
  dprintf(2, "actor: %s: %s\n", step, why);
  _exit(99);
}

// Runs the step at `a`, returns how many words it took.
static int step(int n, char **a, int trying) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (strcmp(a[0], table[i].name)) continue;
    int used = 1 + table[i].fixed, words = 0;
    char **nested = NULL;
    if (table[i].nested) {
      if (used >= n) wrong(a[0], "needs the number of its words");
      words = atoi(a[used++]);
    }
    if (used + words > n) wrong(a[0], "too few words");
    nested = calloc(words + 1, sizeof *nested);
    memcpy(nested, a + used, words * sizeof *nested);
    if (table[i].run(a + 1, words, nested) < 0) {
      if (!trying) wrong(a[0], strerror(errno));
      dprintf(1, "errno %d\n", errno);
    }
    return used + words;
  }
  wrong(a[0], "no such step");
  return 0;
}

static void steps(int n, char **a) {
  while (n > 0) {
    int trying = !strcmp(a[0], "try"), used = trying;
    used += step(n - trying, a + trying, trying);
    n -= used;
    a += used;
  }
}

int main(int argc, char **argv) {
  if (argc == 0) return 0;
  first_arg = argv[0];
  last_arg = argv[argc - 1] + strlen(argv[argc - 1]);
  if (argc < 256 && argc > 1 && !strcmp(argv[1], "scribble")) { // words move before they are overwritten
    memcpy(scribbled, argv, argc * sizeof *argv);
    scribble(argv + 2, 0, 0);
    argv = scribbled;
  }
  // As interpreter of a script, `ignore` swallows what the kernel puts before the script's own words.
  steps(argc - 1, argv + 1);
  return 0;
}
