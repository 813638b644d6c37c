// Gives back what it is sent, over TCP and UDP, IPv4 and IPv6: `echo PORT`. Says `ready`, and `lost` when a connection is cut.
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *serve(void *arg) {
  int fd = (int)(long)arg;
  char bytes[512];
  ssize_t n;
  while ((n = read(fd, bytes, sizeof bytes)) > 0)
    if (write(fd, bytes, n) != n) break;
  if (n < 0) printf("lost\n"), fflush(stdout);
  close(fd);
  return 0;
}
static void *datagrams(void *arg) {
  int fd = (int)(long)arg;
  char bytes[512];
  struct sockaddr_in6 from;
  for (;;) {
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(fd, bytes, sizeof bytes, 0, (void *)&from, &len);
    if (n >= 0) sendto(fd, bytes, n, 0, (void *)&from, len);
  }
}
static int opened(int type, int port) {
  int fd = socket(AF_INET6, type, 0), one = 1;
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (void *)&any, sizeof any)) perror("bind"), exit(1);
  return fd;
}
int main(int argc, char **argv) {
  pthread_t thread;
  int port = argc > 1 ? atoi(argv[1]) : 0, tcp = opened(SOCK_STREAM, port), udp = opened(SOCK_DGRAM, port);
  if (listen(tcp, 16)) return 1;
  pthread_create(&thread, 0, datagrams, (void *)(long)udp);
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    int fd = accept(tcp, 0, 0);
    if (fd >= 0) pthread_create(&thread, 0, serve, (void *)(long)fd);
  }
}
