/*
 * The program that the start benchmark measures: its first act is to read the clock, its second to
 * say what it read. No C library, so that nothing of its own start is measured.
 *
 *   stamp FIFO [N]   writes CLOCK_MONOTONIC in nanoseconds and its pid (two 64-bit numbers) into
 *                    FIFO, forks N sleeping children, and sleeps. FIFO may begin with "FD:", a
 *                    descriptor of one digit that is told by a line that the program is ready. As
 *                    the interpreter of a script (#!stamp FIFO) it gets a path for N: that is 0.
 *   stamp            the same into standard output, and ends.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>

static long call(long number, long a, long b, long c, long d)
{
	long result;
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	result = x0;
#else
#error "the system call of this machine"
#endif
	return result;
}

__attribute__((noreturn, used)) void begin(long *stack)
{
	struct timespec now;
	long long said[2];
	long arguments = stack[0], count = 0, fd = 1, ready = -1;
	char **argv = (char **)(stack + 1);

	call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0);
	said[0] = now.tv_sec * 1000000000LL + now.tv_nsec;
	said[1] = call(SYS_getpid, 0, 0, 0, 0);
	if (arguments > 2)
		for (const char *digit = argv[2]; *digit >= '0' && *digit <= '9'; digit++)
			count = count * 10 + *digit - '0';
	for (; count > 0; count--)
		if (call(SYS_clone, 17 /* SIGCHLD */, 0, 0, 0) == 0)
			for (;;)
				call(SYS_ppoll, 0, 0, 0, 0);
	if (arguments > 1 && argv[1][0] && argv[1][1] == ':') {
		ready = argv[1][0] - '0';
		argv[1] += 2;
	}
	if (arguments > 1)
		fd = call(SYS_openat, AT_FDCWD, (long)argv[1], O_WRONLY, 0);
	if (ready >= 0)
		call(SYS_write, ready, (long)"\n", 1, 0);
	call(SYS_write, fd, (long)said, sizeof said, 0);
	while (arguments > 1)
		call(SYS_ppoll, 0, 0, 0, 0);
	for (;;)
		call(SYS_exit_group, 0, 0, 0, 0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\nmov %rsp, %rdi\nandq $-16, %rsp\ncall begin\n");
#else
__asm__(".globl _start\n_start: mov x0, sp\nbl begin\n");
#endif
