#include <stdio.h>
int main(void) {
    fputs("before\n", stderr);
    fflush(stderr);
    __builtin_trap();
}
