/* Programs to measure with. No C library: what they cost is the kernel's work, not theirs.
 *
 * -DEXIT       ends at once
 * -DCALLS=n    asks n times for the parent's pid
 * -DWAIT       waits until it is killed
 * -DUNLINK     unlinks itself, writes the time at which that returned, waits until it is killed
 * -DVANISH=n   unlinks itself, lives n nanoseconds more and ends
 * -DCROWD=n    makes n processes of user OWNER that wait with ten descriptors each, writes a byte when all are there,
 *              and ends with them when nothing more can be read; with -DBARE these have no descriptors, with
 *              -DCONNECTIONS=m each has both ends of m connections
 * -DTIMES=n    makes n processes, one after the other, that end at once, in turn of USERS users from OWNER on
 */
#include <sys/syscall.h>

static long call(long number, long a, long b, long c, long d, long e)
{
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
			 : "memory");
	return x0;
#else
#error "add this architecture's way into the kernel"
#endif
}

#define HERE (-100L)
#define MONOTONIC 1L

#if defined(UNLINK) || defined(VANISH)
static char path[4096];
#endif

#ifdef UNLINK
static long now[2];

static void unlink_self(void)
{
	call(SYS_readlinkat, HERE, (long)"/proc/self/exe", (long)path, sizeof(path) - 1, 0);
	call(SYS_unlinkat, HERE, (long)path, 0, 0, 0);
	call(SYS_clock_gettime, MONOTONIC, (long)now, 0, 0, 0);
	call(SYS_write, 1, (long)now, sizeof(now), 0, 0);
}
#endif

#ifdef VANISH
static const long rest[2] = {0, VANISH};

static void vanish(void)
{
	call(SYS_readlinkat, HERE, (long)"/proc/self/exe", (long)path, sizeof(path) - 1, 0);
	call(SYS_unlinkat, HERE, (long)path, 0, 0, 0);
	if (VANISH)
		call(SYS_nanosleep, (long)rest, 0, 0, 0, 0);
}
#endif

#if defined(CROWD) || defined(TIMES)
#define FORK SYS_clone
#define CHILD_TELLS 17L

static void end(void)
{
	for (;;)
		call(SYS_exit_group, 1, 0, 0, 0, 0);
}

static void must(long result)
{
	if (result < 0)
		end();
}
#endif

#ifdef TIMES
static void take_turns(void)
{
	for (long at = 0; at < TIMES; at++) {
		long child = call(FORK, CHILD_TELLS, 0, 0, 0, 0);

		must(child);
		if (!child) {
			call(SYS_setuid, OWNER + at % USERS, 0, 0, 0, 0);
			end();
		}
		call(SYS_wait4, child, 0, 0, 0, 0);
	}
}
#endif

#ifdef CROWD
#define KILLED_WITH_PARENT 1L
#define UNIX 1L
#define INET 2L
#define STREAM 1L
#define DATAGRAM 2L
#define KILLED 9L

static const char byte = '\n';
static long crowd[CROWD];
/* Both ends of a pipe on which each says that it is there. */
static int there[2];

#if defined(BARE)
static void open_its_own(void)
{
}
#elif defined(CONNECTIONS)
static unsigned char address[16] = {INET, 0, 0, 0, 127, 0, 0, 1};
static int length = sizeof(address);

static void open_its_own(void)
{
	long listener = call(SYS_socket, INET, STREAM, 0, 0, 0);

	must(call(SYS_bind, listener, (long)address, sizeof(address), 0, 0));
	must(call(SYS_listen, listener, 8, 0, 0, 0));
	must(call(SYS_getsockname, listener, (long)address, (long)&length, 0, 0));
	for (long number = 0; number < CONNECTIONS; number++) {
		long socket = call(SYS_socket, INET, STREAM, 0, 0, 0);

		must(call(SYS_connect, socket, (long)address, sizeof(address), 0, 0));
		must(call(SYS_accept4, listener, 0, 0, 0, 0));
	}
}
#else
static const unsigned char discard[16] = {INET, 0, 0, 9, 127, 0, 0, 1};
static int pair[2];

static void open_its_own(void)
{
	long socket;

	must(call(SYS_pipe2, (long)pair, 0, 0, 0, 0));
	must(call(SYS_socketpair, UNIX, STREAM, 0, (long)pair, 0));
	must(call(SYS_openat, HERE, (long)"/etc/passwd", 0, 0, 0));
	must(call(SYS_eventfd2, 0, 0, 0, 0, 0));
	socket = call(SYS_socket, INET, DATAGRAM, 0, 0, 0);
	must(call(SYS_connect, socket, (long)discard, sizeof(discard), 0, 0));
}
#endif

/* Three that all have from their parent, and its own: seven where nothing else is said. */
static void one_of_many(long shared)
{
	must(call(SYS_setgid, OWNER, 0, 0, 0, 0));
	must(call(SYS_setuid, OWNER, 0, 0, 0, 0));
	must(call(SYS_prctl, KILLED_WITH_PARENT, KILLED, 0, 0, 0));
	for (long number = 0; number < 3; number++)
		must(call(SYS_dup3, shared, number, 0, 0, 0));
	call(SYS_close, shared, 0, 0, 0, 0);
	call(SYS_close, there[0], 0, 0, 0, 0);
	open_its_own();
	call(SYS_write, there[1], (long)&byte, 1, 0, 0);
	call(SYS_close, there[1], 0, 0, 0, 0);
	for (;;)
		call(SYS_ppoll, 0, 0, 0, 0, 0);
}

static void lead(void)
{
	char read;
	long shared = call(SYS_openat, HERE, (long)"/dev/null", 2, 0, 0);

	must(shared);
	must(call(SYS_pipe2, (long)there, 0, 0, 0, 0));
	for (long at = 0; at < CROWD; at++) {
		crowd[at] = call(FORK, CHILD_TELLS, 0, 0, 0, 0);
		must(crowd[at]);
		if (!crowd[at])
			one_of_many(shared);
	}
	call(SYS_close, there[1], 0, 0, 0, 0);
	for (long at = 0; at < CROWD; at++)
		if (call(SYS_read, there[0], (long)&read, 1, 0, 0) != 1)
			end();
	call(SYS_write, 1, (long)&byte, 1, 0, 0);
	while (call(SYS_read, 0, (long)&read, 1, 0, 0) > 0)
		;
	for (long at = 0; at < CROWD; at++)
		call(SYS_kill, crowd[at], KILLED, 0, 0, 0);
	for (long at = 0; at < CROWD; at++)
		call(SYS_wait4, crowd[at], 0, 0, 0, 0);
}
#endif

__attribute__((noreturn)) void _start(void)
{
#ifdef CROWD
	lead();
#endif
#ifdef TIMES
	take_turns();
#endif
#ifdef VANISH
	vanish();
#endif
#ifdef CALLS
	for (long left = CALLS; left > 0; left--)
		call(SYS_getppid, 0, 0, 0, 0, 0);
#endif
#ifdef UNLINK
	unlink_self();
#endif
#if defined(UNLINK) || defined(WAIT)
	for (;;)
		call(SYS_ppoll, 0, 0, 0, 0, 0);
#endif
	for (;;)
		call(SYS_exit_group, 0, 0, 0, 0, 0);
}
