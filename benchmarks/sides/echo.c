/* Answers its params: the least that a call can do. */
#include <stdio.h>

int main(void) {
    char data[4096];
    size_t size;
    while ((size = fread(data, 1, sizeof data, stdin)) > 0) fwrite(data, 1, size, stdout);
    return 0;
}
