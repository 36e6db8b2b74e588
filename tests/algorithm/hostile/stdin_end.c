/* reads beyond the end of its input; answers how many bytes it got */
#include <stdio.h>
#include <unistd.h>
int main(void) {
    char buffer[4096];
    long total = 0, got;
    for (int tries = 0; tries < 3;) {
        got = read(0, buffer, sizeof buffer);
        if (got <= 0) tries++;
        else total += got;
    }
    printf("%ld\n", total);
    return 0;
}
