/* Programs to measure with. No C library: what they cost is the kernel's work, not theirs.
 *
 * -DEXIT       ends at once
 * -DCALLS=n    asks n times for the parent's pid
 * -DWAIT       waits until it is killed
 * -DUNLINK     unlinks itself, writes the time at which that returned, waits until it is killed
 * -DVANISH=n   unlinks itself, lives n nanoseconds more and ends
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

__attribute__((noreturn)) void _start(void)
{
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
