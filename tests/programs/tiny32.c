// A true 32-bit program (cc -m32, no libc): waits for standard input and unlinks its first argument, when it has one, then waits again.
static int call(int number, int b, int c, int d) {
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(b), "c"(c), "d"(d) : "memory");
  return result;
}

__attribute__((used)) static void begin(int *stack) {
  char byte;
  int result = 0;
  if (stack[0] > 1) {
    call(3, 0, (int)&byte, 1);
    result = call(10, stack[2], 0, 0);
  }
  call(4, 1, (int)(result ? "fail\n" : "done\n"), 5);
  call(3, 0, (int)&byte, 1);
  call(252, result ? 99 : 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %esp, %eax\n push %eax\n call begin\n");
