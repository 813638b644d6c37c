/* The work that is done beside each system, in a process of its own: the audit system of the kernel passes over
 * processes that were there before it was switched on. Writes how long the work took, in nanoseconds.
 *
 * work spawn N PROGRAM [ARGUMENT]
 *                        starts the program N times, one after the other, and waits for each
 * work fork N            makes N processes that end at once
 * work files N FOLDER    makes N files, and removes each
 * work connect N         N connections over loopback, taken and closed
 * work udp N             N datagrams of 64 bytes over loopback, sent and received in turns
 * work tcp N             N blocks of 128 KiB through one connection over loopback, from one process to another
 * work null N            N system calls that do nothing
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL 64
#define WAITING 32
#define BLOCK (128 * 1024)

static char block[BLOCK];

static long must(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static void spawn_all(long count, const char *program, const char *argument)
{
	char *arguments[] = {(char *)program, (char *)argument, NULL};
	char *environment[] = {NULL};
	pid_t pid;

	while (count-- > 0) {
		must(-posix_spawn(&pid, program, NULL, NULL, arguments, environment), "posix_spawn");
		must(waitpid(pid, NULL, 0), "waitpid");
	}
}

static void fork_all(long count)
{
	pid_t pid;

	while (count-- > 0) {
		pid = must(fork(), "fork");
		if (pid == 0)
			_exit(0);
		must(waitpid(pid, NULL, 0), "waitpid");
	}
}

static void files(long count, const char *folder)
{
	char name[32];

	must(chdir(folder), "chdir");
	for (long at = 0; at < count; at++) {
		snprintf(name, sizeof(name), "file-%ld", at);
		must(close(must(open(name, O_CREAT | O_WRONLY, 0600), "open")), "close");
		must(unlink(name), "unlink");
	}
}

static struct sockaddr_in loopback(int socket)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);

	must(bind(socket, (struct sockaddr *)&address, length), "bind");
	must(getsockname(socket, (struct sockaddr *)&address, &length), "getsockname");
	return address;
}

static int listener(struct sockaddr_in *address)
{
	int listening = must(socket(AF_INET, SOCK_STREAM, 0), "socket");

	*address = loopback(listening);
	must(listen(listening, 16), "listen");
	return listening;
}

static int connected(struct sockaddr_in *address)
{
	int one = must(socket(AF_INET, SOCK_STREAM, 0), "socket");

	must(connect(one, (struct sockaddr *)address, sizeof(*address)), "connect");
	return one;
}

/* The side that is taken closes first, and keeps no port waiting after that. */
static void connections(long count)
{
	struct sockaddr_in address;
	struct linger at_once = {.l_onoff = 1};
	int listening = listener(&address);

	while (count-- > 0) {
		int one = connected(&address);
		int other = must(accept(listening, NULL, NULL), "accept");

		must(setsockopt(other, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), "setsockopt");
		must(close(other), "close");
		must(close(one), "close");
	}
}

static void udp(long count)
{
	int from = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
	int to = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
	struct sockaddr_in address = loopback(to);

	must(connect(from, (struct sockaddr *)&address, sizeof(address)), "connect");
	for (; count > 0; count -= WAITING) {
		for (int at = 0; at < WAITING; at++)
			must(send(from, block, SMALL, 0), "send");
		for (int at = 0; at < WAITING; at++)
			must(recv(to, block, SMALL, 0), "recv");
	}
}

static void tcp(long count)
{
	struct sockaddr_in address;
	int listening = listener(&address);
	pid_t pid = must(fork(), "fork");

	if (pid == 0) {
		int from = connected(&address);

		for (; count > 0; count--)
			for (long done = 0; done < BLOCK;)
				done += must(send(from, block + done, BLOCK - done, 0), "send");
		_exit(0);
	}
	int to = must(accept(listening, NULL, NULL), "accept");

	while (must(recv(to, block, BLOCK, 0), "recv") > 0)
		;
	must(waitpid(pid, NULL, 0), "waitpid");
}

static void null(long count)
{
	while (count-- > 0)
		syscall(SYS_getppid);
}

static void work(const char *what, long count, const char *where, const char *more)
{
	if (!strcmp(what, "spawn"))
		spawn_all(count, where, more);
	else if (!strcmp(what, "fork"))
		fork_all(count);
	else if (!strcmp(what, "files"))
		files(count, where);
	else if (!strcmp(what, "connect"))
		connections(count);
	else if (!strcmp(what, "udp"))
		udp(count);
	else if (!strcmp(what, "tcp"))
		tcp(count);
	else if (!strcmp(what, "null"))
		null(count);
	else
		exit(2);
}

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

int main(int count, char **arguments)
{
	long began;

	if (count < 3)
		return 2;
	began = now();
	work(arguments[1], atol(arguments[2]), count > 3 ? arguments[3] : "", count > 4 ? arguments[4] : NULL);
	printf("%ld\n", now() - began);
	return 0;
}
