// Processes that fight against their end: `adversary SECONDS UID HOW …`. Whatever it does ends by itself after so many
// seconds. It takes the user's id first, unless UID is `-`; it prints `ready` when it does what it says.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct timespec end;

static int over(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec > end.tv_nsec);
}

static void nap(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&t, 0);
}

static void stay(void) {
  while (!over()) nap(20);
  _exit(0);
}

static void ready(void) {
  if (write(1, "ready\n", 6) != 6) _exit(98);
}

static void become(const char *uid) {
  if (*uid == '-') return;
  uid_t id = (uid_t)atol(uid);
  if (setgroups(0, 0) || setresgid(id, id, id) || setresuid(id, id, id)) _exit(97);
}

// Each lives 20 ms, and its child goes on in its place.
static void chain(void) {
  setsid();
  while (!over()) {
    nap(20);
    pid_t child = fork();
    if (child > 0) _exit(0);
  }
  _exit(0);
}

static void chains(int many) {
  while (many--)
    if (!fork()) chain();
  ready();
}

// A chain that listens: whoever goes on has the socket of the one before.
static void heirs(const char *port) {
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&here, sizeof here) || listen(fd, 4)) _exit(97);
  chains(1);
}

static void bomb(const char *limit) {
  struct rlimit r = {(rlim_t)atol(limit), (rlim_t)atol(limit)};
  if (setrlimit(RLIMIT_NPROC, &r)) _exit(97);
  signal(SIGCHLD, SIG_IGN);
  ready();
  while (!over())
    if (fork() < 0) nap(1);
  _exit(0);
}

static void daemons(int many) {
  while (many--)
    if (!fork()) {
      setsid();
      if (fork()) _exit(0);
      stay();
    }
  while (wait(0) > 0)
    ;
  ready();
}

static void deaf(void) {
  sigset_t all;
  for (int s = 1; s < 65; s++) signal(s, SIG_IGN);
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, 0);
  ready();
  stay();
}

// The tracer keeps its own user; the traced is the one that takes the other.
static void traced(const char *uid) {
  pid_t child = fork();
  if (!child) {
    become(uid);
    prctl(PR_SET_DUMPABLE, 1);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    stay();
  }
  waitpid(child, 0, 0);
  ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACEEXIT);
  ready();
  while (!over() && waitpid(child, 0, WNOHANG) != child) nap(5);
  kill(child, SIGKILL);
  _exit(0);
}

// The first of a pid namespace, with chains below it.
static void inside(const char *uid) {
  if (unshare(CLONE_NEWPID)) _exit(97);
  if (!fork()) {
    become(uid);
    chains(2);
    signal(SIGCHLD, SIG_IGN);
    stay();
  }
  _exit(0);
}

static void put(const char *folder, pid_t pid) {
  char path[4096], text[32];
  snprintf(path, sizeof path, "%s/cgroup.procs", folder);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  int size = snprintf(text, sizeof text, "%d", pid);
  if (fd < 0) return;
  if (write(fd, text, size) != size) nap(1);
  close(fd);
}

// Goes from one cgroup into the other, and lets another process be moved too.
static void mover(char **folders) {
  pid_t other = fork();
  if (!other) stay();
  ready();
  for (int i = 0; !over(); i = !i) {
    put(folders[i], getpid());
    put(folders[i], other);
    nap(1);
  }
  _exit(0);
}

static const char *thread_uid;
static void *as_another(void *none) {
  uid_t id = (uid_t)atol(thread_uid);
  syscall(SYS_setresuid, id, id, id);
  ready();
  stay();
  return none;
}

static void thread(const char *uid, int leave) {
  pthread_t t;
  thread_uid = uid;
  pthread_create(&t, 0, as_another, 0);
  if (leave) pthread_exit(0);
  stay();
}

// A file system whose program reads each question and answers none but the first: who asks waits and can't be killed.
static void mute(const char *folder, const char *uid) {
  char options[256], question[65536];
  int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    printf("no /dev/fuse\n");
    fflush(stdout);
    _exit(0);
  }
  snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
  if (mount("adversary", folder, "fuse", MS_NODEV | MS_NOSUID, options)) _exit(97);
  if (read(fd, question, sizeof question) < 0) _exit(96);
  // FUSE_INIT: length, no error, the question's number; version 7.31.
  struct {
    unsigned len, error;
    unsigned long long unique;
    unsigned major, minor, rest[14];
  } answer = {sizeof answer, 0, 0, 7, 31, {0}};
  memcpy(&answer.unique, question + 8, 8);
  if (write(fd, &answer, sizeof answer) != sizeof answer) _exit(95);
  if (!fork()) {
    close(fd);
    become(uid);
    struct stat facts;
    char path[4096];
    snprintf(path, sizeof path, "%s/file", folder);
    stat(path, &facts);
    stay();
  }
  if (read(fd, question, sizeof question) < 0) _exit(94);
  ready();
  char c;
  while (!over() && read(0, &c, 1) == 1)
    ;
  umount2(folder, MNT_DETACH);
  _exit(0);
}

int main(int argc, char **argv) {
  if (argc < 4) return 99;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += atol(argv[1]);
  const char *uid = argv[2], *how = argv[3];
  char **rest = argv + 4;
  if (!strcmp(how, "traced")) traced(uid);
  if (!strcmp(how, "inside")) inside(uid);
  if (!strcmp(how, "thread") || !strcmp(how, "headless")) thread(uid, *how == 'h');
  if (!strcmp(how, "mute")) mute(rest[0], uid);
  become(uid);
  if (!strcmp(how, "chains")) chains(atoi(rest[0]));
  if (!strcmp(how, "heirs")) heirs(rest[0]);
  if (!strcmp(how, "bomb")) bomb(rest[0]);
  if (!strcmp(how, "daemons")) daemons(atoi(rest[0]));
  if (!strcmp(how, "deaf")) deaf();
  if (!strcmp(how, "mover")) mover(rest);
  // The program itself may be another user's, and marked to be run as that.
  if (!strcmp(how, "exec")) execv(rest[0], rest);
  // Starts its program again whenever it has ended.
  if (!strcmp(how, "keeper")) {
    ready();
    while (!over()) {
      pid_t child = fork();
      if (!child) execv(rest[0], rest);
      waitpid(child, 0, 0);
    }
  }
  if (!strcmp(how, "stay")) ready();
  if (!strcmp(how, "stay")) stay();
  return 0;
}
