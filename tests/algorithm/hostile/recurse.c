#include <stdio.h>
static volatile int depth;
static int deeper(int n) {
    volatile char here[64];
    here[0] = (char)n;
    depth++;
    return deeper(n + 1) + here[0];
}
int main(void) {
    printf("%d\n", deeper(0));
    return 0;
}
