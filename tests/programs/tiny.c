// Exits with 0, and that is all: no libc, the cheapest exec there is.
void _start(void) {
#if defined(__x86_64__)
  __asm__ volatile("syscall" : : "a"(231), "D"(0));
#elif defined(__aarch64__)
  register long number __asm__("x8") = 94;
  register long code __asm__("x0") = 0;
  __asm__ volatile("svc 0" : : "r"(number), "r"(code));
#endif
  __builtin_unreachable();
}
