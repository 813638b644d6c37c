// What a program can do with sockets, step by step: `net tcp a 4 bind a 127.0.0.1 0 listen a port a wait`.
// Sockets are named by letters. What fails says `failed ERRNO` and goes on.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int fds[128];
union addr { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; };

static void said(long result) {
  if (result < 0) printf("failed %d\n", errno);
  fflush(stdout);
}
static socklen_t address(const char *text, const char *port, union addr *to) {
  memset(to, 0, sizeof *to);
  if (inet_pton(AF_INET, text, &to->v4.sin_addr) == 1) {
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons(atoi(port));
    return sizeof to->v4;
  }
  inet_pton(AF_INET6, text, &to->v6.sin6_addr);
  to->v6.sin6_family = AF_INET6;
  to->v6.sin6_port = htons(atoi(port));
  return sizeof to->v6;
}
static long ring(struct io_uring_sqe request) {
  struct io_uring_params p = {0};
  int fd = syscall(SYS_io_uring_setup, 4, &p);
  if (fd < 0) return -1;
  char *sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
  char *cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  IORING_OFF_CQ_RING);
  struct io_uring_sqe *sqes = mmap(0, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
  sqes[0] = request;
  *(unsigned *)(sq + p.sq_off.array) = 0;
  __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
  if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0) return -1;
  long result = ((struct io_uring_cqe *)(cq + p.cq_off.cqes))->res;
  close(fd);
  if (result < 0) { errno = -result; return -1; }
  return result;
}
static void lo_up(void) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  said(ioctl(fd, SIOCSIFFLAGS, &request));
  close(fd);
}

// A message of nf_tables, built piece by piece: attributes that hold others are closed by their own end.
struct nft { char bytes[4096]; unsigned size, head, open[8], depth; };
static void nft_put(struct nft *m, int kind, const void *value, unsigned size) {
  struct nlattr *attribute = (void *)(m->bytes + m->size);
  *attribute = (struct nlattr){sizeof *attribute + size, kind};
  memcpy(attribute + 1, value, size);
  m->size += NLMSG_ALIGN(sizeof *attribute + size);
}
static void nft_word(struct nft *m, int kind, uint32_t word) { word = htonl(word), nft_put(m, kind, &word, 4); }
static void nft_text(struct nft *m, int kind, const char *text) { nft_put(m, kind, text, strlen(text) + 1); }
static void nft_in(struct nft *m, int kind) {
  m->open[m->depth++] = m->size;
  nft_put(m, kind | NLA_F_NESTED, "", 0);
}
static void nft_out(struct nft *m) {
  struct nlattr *attribute = (void *)(m->bytes + m->open[--m->depth]);
  attribute->nla_len = m->size - m->open[m->depth];
}
static void nft_begin(struct nft *m, int kind, int flags, int family, int part) {
  m->head = m->size;
  struct nlmsghdr *head = (void *)(m->bytes + m->size);
  *head = (struct nlmsghdr){0, kind, NLM_F_REQUEST | flags, 1, 0};
  struct nfgenmsg *general = NLMSG_DATA(head);
  *general = (struct nfgenmsg){family, 0, htons(part)};
  m->size += NLMSG_LENGTH(sizeof *general);
}
static void nft_end(struct nft *m) { ((struct nlmsghdr *)(m->bytes + m->head))->nlmsg_len = m->size - m->head; }
static void nft_data(struct nft *m, int kind, const void *value, unsigned size) {
  nft_in(m, kind), nft_put(m, NFTA_DATA_VALUE, value, size), nft_out(m);
}
static void nft_step(struct nft *m, const char *name) {
  nft_in(m, NFTA_LIST_ELEM), nft_text(m, NFTA_EXPR_NAME, name), nft_in(m, NFTA_EXPR_DATA);
}
static void nft_step_end(struct nft *m) { nft_out(m), nft_out(m); }
static void nft_compare(struct nft *m, const void *value, unsigned size) {
  nft_step(m, "cmp"), nft_word(m, NFTA_CMP_SREG, NFT_REG_1), nft_word(m, NFTA_CMP_OP, NFT_CMP_EQ);
  nft_data(m, NFTA_CMP_DATA, value, size), nft_step_end(m);
}
// The rule `[ip saddr 10.0.0.1] tcp dport PORT accept`.
static void nft_accept(struct nft *m, int port, int from) {
  nft_begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, 1, 0);
  nft_text(m, NFTA_RULE_TABLE, "sensor-test"), nft_text(m, NFTA_RULE_CHAIN, "in"), nft_in(m, NFTA_RULE_EXPRESSIONS);
  if (from) {
    nft_step(m, "payload"), nft_word(m, NFTA_PAYLOAD_DREG, NFT_REG_1), nft_word(m, NFTA_PAYLOAD_BASE, 1);
    nft_word(m, NFTA_PAYLOAD_OFFSET, 12), nft_word(m, NFTA_PAYLOAD_LEN, 4), nft_step_end(m);
    nft_compare(m, "\12\0\0\1", 4);
  }
  nft_step(m, "meta"), nft_word(m, NFTA_META_DREG, NFT_REG_1), nft_word(m, NFTA_META_KEY, NFT_META_L4PROTO), nft_step_end(m);
  nft_compare(m, "\6", 1);
  nft_step(m, "payload"), nft_word(m, NFTA_PAYLOAD_DREG, NFT_REG_1), nft_word(m, NFTA_PAYLOAD_BASE, 2);
  nft_word(m, NFTA_PAYLOAD_OFFSET, 2), nft_word(m, NFTA_PAYLOAD_LEN, 2), nft_step_end(m);
  nft_compare(m, &(uint16_t){htons(port)}, 2);
  nft_step(m, "immediate"), nft_word(m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT), nft_in(m, NFTA_IMMEDIATE_DATA);
  nft_in(m, NFTA_DATA_VERDICT), nft_word(m, NFTA_VERDICT_CODE, 1), nft_out(m), nft_out(m), nft_step_end(m);
  nft_out(m), nft_end(m);
}
// A firewall that keeps all out but TCP to one port, and to another from 10.0.0.1.
static long firewall(int open, int from) {
  struct nft m = {.size = 0};
  nft_begin(&m, NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES), nft_end(&m);
  nft_begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE, 1, 0);
  nft_text(&m, NFTA_TABLE_NAME, "sensor-test"), nft_end(&m);
  nft_begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NLM_F_CREATE, 1, 0);
  nft_text(&m, NFTA_CHAIN_TABLE, "sensor-test"), nft_text(&m, NFTA_CHAIN_NAME, "in"), nft_in(&m, NFTA_CHAIN_HOOK);
  nft_word(&m, NFTA_HOOK_HOOKNUM, 1), nft_word(&m, NFTA_HOOK_PRIORITY, 0), nft_out(&m);
  nft_word(&m, NFTA_CHAIN_POLICY, 0), nft_text(&m, NFTA_CHAIN_TYPE, "filter"), nft_end(&m);
  nft_accept(&m, open, 0);
  nft_accept(&m, from, 1);
  nft_begin(&m, NFNL_MSG_BATCH_END, NLM_F_ACK, 0, NFNL_SUBSYS_NFTABLES), nft_end(&m);
  int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
  struct timeval soon = {0, 200000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
  if (send(fd, m.bytes, m.size, 0) < 0) return -1;
  char answer[4096];
  long got = recv(fd, answer, sizeof answer, 0);
  int error = got > 0 ? ((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)answer))->error : 0;
  close(fd);
  errno = -error;
  return error ? -1 : 0;
}

// As `RestrictAddressFamilies=~AF_NETLINK` of systemd does it.
static void no_netlink(void) {
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  said(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static long refuse(const char *cgroup) {
  struct bpf_insn no[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0}, {.code = BPF_JMP | BPF_EXIT}};
  union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR, .expected_attach_type = BPF_CGROUP_INET4_CONNECT,
                         .insns = (uintptr_t)no, .insn_cnt = 2, .license = (uintptr_t)"MIT"};
  int program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
  int group = open(cgroup, O_RDONLY | O_DIRECTORY);
  union bpf_attr attach = {.target_fd = group, .attach_bpf_fd = program, .attach_type = BPF_CGROUP_INET4_CONNECT,
                           .attach_flags = BPF_F_ALLOW_MULTI};
  if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach)) return -1;
  int members = openat(group, "cgroup.procs", O_WRONLY);
  return write(members, "0", 1);
}

// Counts what is sent below a cgroup; it lets everything pass. The counter's descriptor.
static int tap(const char *cgroup, int alone) {
  union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
  int counter = syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map);
  struct bpf_insn count[] = {
    {.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 10, .off = -4},
    {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10},
    {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = -4},
    {.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = counter},
    {0},
    {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem},
    {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 0, .off = 2},
    {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 1, .imm = 1},
    {.code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = 0, .src_reg = 1},
    {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
    {.code = BPF_JMP | BPF_EXIT},
  };
  union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_SKB, .expected_attach_type = BPF_CGROUP_INET_EGRESS,
                         .insns = (uintptr_t)count, .insn_cnt = sizeof count / sizeof *count, .license = (uintptr_t)"MIT"};
  int program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
  int group = open(cgroup, O_RDONLY | O_DIRECTORY);
  if (!alone) {
    union bpf_attr link = {.link_create = {.prog_fd = program, .target_fd = group, .attach_type = BPF_CGROUP_INET_EGRESS}};
    return syscall(SYS_bpf, BPF_LINK_CREATE, &link, sizeof link) < 0 ? -1 : counter;
  }
  union bpf_attr attach = {.target_fd = group, .attach_bpf_fd = program, .attach_type = BPF_CGROUP_INET_EGRESS};
  if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach)) return -1;
  // It would outlive everybody: a child takes it off when this process is gone. Until then it has the output open.
  int life[2];
  if (pipe2(life, O_CLOEXEC)) return -1;
  if (!fork()) {
    char end;
    close(life[1]);
    setsid();
    close(0), close(2);
    if (read(life[0], &end, 1) == 0) syscall(SYS_bpf, BPF_PROG_DETACH, &attach, sizeof attach);
    _exit(0);
  }
  close(life[0]);
  return counter;
}
static void tapped(int counter) {
  uint32_t key = 0;
  uint64_t value = 0;
  union bpf_attr look = {.map_fd = counter, .key = (uintptr_t)&key, .value = (uintptr_t)&value};
  said(syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &look, sizeof look));
  printf("tapped %llu\n", (unsigned long long)value);
  fflush(stdout);
}

// The first association of a socket of SCTP (`SCTP_GET_ASSOC_ID_LIST`), which it waits for.
static int associated(int fd) {
  uint32_t ids[64];
  do {
    socklen_t len = sizeof ids;
    if (getsockopt(fd, IPPROTO_SCTP, 29, ids, &len)) return -1;
    if (!ids[0]) usleep(1000);
  } while (!ids[0]);
  return ids[1];
}

static void steps(int n, char **w);
struct words { int n; char **w; };
static void *in_thread(void *of) {
  struct words *words = of;
  printf("tid %ld\n", (long)syscall(SYS_gettid));
  fflush(stdout);
  steps(words->n, words->w);
  return 0;
}

static void steps(int n, char **w) {
  for (int i = 0; i < n;) {
    char *name = w[i++];
    int *fd = i < n ? &fds[(unsigned char)w[i][0] & 127] : fds;
    union addr addr;
    socklen_t len = sizeof addr;
#define IS(text) !strcmp(name, text)
    if (IS("tcp") || IS("udp")) {
      *fd = socket(w[i + 1][0] == '6' ? AF_INET6 : AF_INET, IS("tcp") ? SOCK_STREAM : SOCK_DGRAM, 0);
      said(*fd);
      i += 2;
    } else if (IS("mptcp") || IS("sctp") || IS("sctp-many")) {
      *fd = socket(w[i + 1][0] == '6' ? AF_INET6 : AF_INET, IS("sctp-many") ? SOCK_SEQPACKET : SOCK_STREAM,
                   IS("mptcp") ? 262 : IPPROTO_SCTP);
      said(*fd);
      i += 2;
    } else if (IS("joined")) { // joined SLOT: waits until a second subflow is there (`MPTCP_INFO`, its first byte)
      for (unsigned char more[256] = {0}; !more[0]; usleep(1000)) {
        len = sizeof more;
        if (getsockopt(*fd, 284, 1, more, &len)) { said(-1); break; }
      }
      i++;
    } else if (IS("peel")) { // peel LISTENER NEW: takes its first association out (`SCTP_SOCKOPT_PEELOFF`)
      struct { int association, fd; } peel = {associated(*fd), -1};
      len = sizeof peel;
      said(getsockopt(*fd, IPPROTO_SCTP, 102, &peel, &len));
      fds[(unsigned char)w[i + 1][0] & 127] = peel.fd;
      i += 2;
    } else if (IS("raw")) {
      said(*fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)), i++;
    } else if (IS("packet")) {
      said(*fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))), i++;
    } else if (IS("filter")) { // filter SLOT COUNT: of so many instructions, the last lets all pass
      struct sock_filter code[64];
      int count = atoi(w[i + 1]);
      for (int at = 0; at < count; at++) code[at] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0);
      code[count - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0xffff);
      struct sock_fprog program = {count, code};
      said(setsockopt(*fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)), i += 2;
    } else if (IS("filter-extended")) {
      struct bpf_insn all[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0xffff}, {.code = BPF_JMP | BPF_EXIT}};
      union bpf_attr load = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = (uintptr_t)all, .insn_cnt = 2,
                             .license = (uintptr_t)"MIT"};
      int program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
      said(setsockopt(*fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program)), i++;
    } else if (IS("unix")) { // unix SLOT NAME: bound to an abstract name
      struct sockaddr_un to = {.sun_family = AF_UNIX};
      len = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(w[i + 1]);
      memcpy(to.sun_path + 1, w[i + 1], strlen(w[i + 1]));
      said(*fd = socket(AF_UNIX, SOCK_STREAM, 0));
      said(bind(*fd, (void *)&to, len)), i += 2;
    } else if (IS("vsock")) { // vsock SLOT PORT: bound to all numbers of the machine
      struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = atoi(w[i + 1])};
      said(*fd = socket(AF_VSOCK, SOCK_STREAM, 0));
      said(bind(*fd, (void *)&to, sizeof to)), i += 2;
    } else if (IS("netlink")) { // netlink SLOT PROTOCOL GROUPS
      struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_groups = atoi(w[i + 2])};
      said(*fd = socket(AF_NETLINK, SOCK_RAW, atoi(w[i + 1])));
      said(bind(*fd, (void *)&to, sizeof to)), i += 3;
    } else if (IS("reuseport")) {
      said(setsockopt(*fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, 4)), i++;
    } else if (IS("firewall")) { // firewall PORT OTHER: all but the one is closed, the other but to 10.0.0.1
      said(firewall(atoi(w[i]), atoi(w[i + 1]))), i += 2;
    } else if (IS("here")) { // here SLOT: the network namespace, to come back to
      said(*fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)), i++;
    } else if (IS("back")) { // back SLOT
      said(setns(*fd, CLONE_NEWNET)), i++;
    } else if (IS("v6only")) {
      said(setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, 4)), i++;
    } else if (IS("freebind")) {
      said(setsockopt(*fd, IPPROTO_IP, IP_FREEBIND, &(int){1}, 4)), i++;
    } else if (IS("no-netlink")) {
      no_netlink();
    } else if (IS("exec")) { // exec WORD…: becomes another program
      said(execv(w[i], w + i));
      exit(98);
    } else if (IS("nonblock")) {
      said(fcntl(*fd, F_SETFL, O_NONBLOCK)), i++;
    } else if (IS("device")) { // device SLOT NAME: bound to that interface
      said(setsockopt(*fd, SOL_SOCKET, SO_BINDTODEVICE, w[i + 1], strlen(w[i + 1]))), i += 2;
    } else if (IS("mark")) { // mark SLOT NUMBER
      said(setsockopt(*fd, SOL_SOCKET, SO_MARK, &(int){atoi(w[i + 1])}, 4)), i += 2;
    } else if (IS("unlink")) { // unlink PATH
      said(unlink(w[i++]));
    } else if (IS("run")) { // run COMMAND, by the shell
      if (system(w[i++])) puts("failed to run");
      fflush(stdout);
    } else if (IS("tap")) { // tap c CGROUP beside|alone: counts the packets that are sent below it
      said(*fd = tap(w[i + 1], !strcmp(w[i + 2], "alone"))), i += 3;
    } else if (IS("tapped")) { // tapped c: how many there were
      tapped(*fd), i++;
    } else if (IS("refuse")) { // refuse CGROUP: joins it, where no TCP or UDP socket may connect by IPv4
      said(refuse(w[i++]));
    } else if (IS("miss")) { // miss ADDRESS PORT COUNT: that many connects of TCP that fail, each closed at once
      len = address(w[i], w[i + 1], &addr);
      for (int left = atoi(w[i + 2]); left > 0; left--) {
        int one = socket(addr.any.sa_family, SOCK_STREAM, 0);
        if (connect(one, &addr.any, len) == 0) puts("failed to fail");
        close(one);
      }
      i += 3;
    } else if (IS("bind") || IS("ring-bind")) {
      len = address(w[i + 1], w[i + 2], &addr);
      said(IS("bind") ? bind(*fd, &addr.any, len)
                      : ring((struct io_uring_sqe){.opcode = 56, .fd = *fd, .addr = (uintptr_t)&addr, .addr2 = len}));
      i += 3;
    } else if (IS("listen")) {
      said(listen(*fd, 4096)), i++;
    } else if (IS("ring-listen")) {
      said(ring((struct io_uring_sqe){.opcode = 57, .fd = *fd, .len = 4096})), i++;
    } else if (IS("port")) {
      getsockname(*fd, &addr.any, &len);
      printf("port %d\n", ntohs(addr.v4.sin_port));
      said(0), i++;
    } else if (IS("connect") || IS("ring-connect")) {
      if (w[i + 2][0] == '@') {
        char port[8];
        union addr of;
        socklen_t size = sizeof of;
        getsockname(fds[(unsigned char)w[i + 2][1] & 127], &of.any, &size);
        snprintf(port, sizeof port, "%d", ntohs(of.v4.sin_port));
        len = address(w[i + 1], port, &addr);
      } else {
        len = address(w[i + 1], w[i + 2], &addr);
      }
      said(IS("connect") ? connect(*fd, &addr.any, len)
                         : ring((struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = *fd, .addr = (uintptr_t)&addr, .off = len}));
      i += 3;
    } else if (IS("accept") || IS("accept-null") || IS("ring-accept")) {
      int *new = &fds[(unsigned char)w[i + 1][0] & 127];
      if (IS("accept")) *new = accept4(*fd, &addr.any, &len, SOCK_CLOEXEC);
      else if (IS("accept-null")) *new = accept4(*fd, 0, 0, SOCK_CLOEXEC);
      else *new = ring((struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .fd = *fd, .addr = (uintptr_t)&addr,
                                             .addr2 = (uintptr_t)&len});
      said(*new);
      i += 2;
    } else if (IS("send")) {
      said(write(*fd, "x", 1)), i++;
    } else if (IS("recv")) {
      char byte;
      said(read(*fd, &byte, 1)), i++;
    } else if (IS("give") || IS("take")) { // give SLOT BYTES, take SLOT BYTES: that many, whatever the calls
      static char block[65536];
      for (long left = atol(w[i + 1]), moved; left > 0; left -= moved) {
        size_t most = left < (long)sizeof block ? left : sizeof block;
        moved = IS("give") ? write(*fd, block, most) : read(*fd, block, most);
        if (moved <= 0) { said(-1); break; }
      }
      i += 2;
    } else if (IS("datagrams")) { // datagrams SLOT ADDRESS @OTHER BYTES COUNT: to where the other is bound
      static char block[65536];
      char port[8];
      union addr of;
      socklen_t size = sizeof of;
      getsockname(fds[(unsigned char)w[i + 2][1] & 127], &of.any, &size);
      snprintf(port, sizeof port, "%d", ntohs(of.v4.sin_port));
      len = address(w[i + 1], port, &addr);
      for (int left = atoi(w[i + 4]); left > 0; left--)
        if (sendto(*fd, block, atoi(w[i + 3]), 0, &addr.any, len) < 0) said(-1);
      i += 5;
    } else if (IS("put")) { // put SLOT SIZE COUNT: that many blocks of that size
      static char block[65536];
      for (int left = atoi(w[i + 2]); left > 0; left--)
        if (write(*fd, block, atoi(w[i + 1])) < 0) said(-1);
      i += 3;
    } else if (IS("move")) { // move FROM TO SIZE COUNT: each block is got before the next is put
      static char block[65536];
      int to = fds[(unsigned char)w[i + 1][0] & 127], size = atoi(w[i + 2]);
      for (int left = atoi(w[i + 3]); left > 0; left--) {
        if (write(*fd, block, size) != size) said(-1);
        for (long got = 0, more; got < size; got += more)
          if ((more = read(to, block, sizeof block)) <= 0) { said(more - 1); break; }
      }
      i += 4;
    } else if (IS("drip")) { // drip SLOT SIZE: a block each 5 ms, without end
      static char block[65536];
      for (;; usleep(5000)) send(*fd, block, atoi(w[i + 1]), MSG_NOSIGNAL);
    } else if (IS("close")) {
      said(close(*fd)), i++;
    } else if (IS("reset")) {
      struct linger at_once = {1, 0};
      said(setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
      said(close(*fd)), i++;
    } else if (IS("netns")) {
      said(unshare(CLONE_NEWNET));
      lo_up();
    } else if (IS("user")) {
      said(setresuid(atoi(w[i]), atoi(w[i]), atoi(w[i]))), i++;
    } else if (IS("fork") || IS("thread")) {
      struct words inner = {atoi(w[i]), w + i + 1};
      i += 1 + inner.n;
      if (IS("thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, in_thread, &inner);
        pthread_join(thread, 0);
        continue;
      }
      fflush(stdout);
      pid_t child = fork();
      if (!child) {
        printf("pid %d\n", getpid());
        fflush(stdout);
        steps(inner.n, inner.w);
        exit(0);
      }
      waitpid(child, 0, 0);
    } else if (IS("spawn")) { // spawn COUNT WORD…: as fork, and goes on at once
      struct words inner = {atoi(w[i]), w + i + 1};
      i += 1 + inner.n;
      fflush(stdout);
      if (!fork()) {
        printf("pid %d\n", getpid());
        fflush(stdout);
        steps(inner.n, inner.w);
        exit(0);
      }
    } else if (IS("many")) { // many PORT COUNT MICROSECONDS: that many connections to 127.0.0.1, each closed at once, and
                             // a pause after each
      len = address("127.0.0.1", w[i], &addr);
      for (int left = atoi(w[i + 1]), pause = atoi(w[i + 2]); left > 0; left--) {
        int one = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(one, &addr.any, len) < 0) said(-1);
        close(one);
        if (pause) usleep(pause);
      }
      i += 3;
    } else if (IS("serve")) { // serve SLOT COUNT: accepts that many and closes each
      for (int left = atoi(w[i + 1]); left > 0; left--) {
        len = sizeof addr;
        close(accept4(*fd, &addr.any, &len, 0));
      }
      i += 2;
    } else if (IS("say")) {
      puts(w[i++]);
      fflush(stdout);
    } else if (IS("wait")) {
      char line[64];
      if (!fgets(line, sizeof line, stdin)) return;
    } else {
      dprintf(2, "net: %s: no such step\n", name);
      exit(99);
    }
  }
}

int main(int argc, char **argv) {
  steps(argc - 1, argv + 1);
  return 0;
}
