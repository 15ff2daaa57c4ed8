/* load FILE and remove NAME through int $0x80, as a program of 32 bits; the errnos as characters */
static int call(int number, const void *a, const void *b, int c) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
void begin(int *stack) {
    char **argv = (char **)(stack + 1), said[] = "00\n";
    int fd = call(5, argv[1], 0, 0);                    /* open */
    said[0] -= call(350, (void *)fd, "", 0);            /* finit_module */
    said[1] -= call(129, argv[2], (void *)04000, 0);    /* delete_module */
    call(4, (void *)1, said, 3);
    call(1, 0, 0, 0);
}
__asm__(".globl _start\n_start: mov %esp, %eax\n push %eax\n call begin\n");
