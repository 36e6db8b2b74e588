/* stops at the first refusal, as most programs do */
#include <fcntl.h>
#include <unistd.h>
int main(void) {
    static char block[1 << 16];
    int file = open("/full", O_CREAT | O_WRONLY, 0644);
    while (write(file, block, sizeof block) > 0) {}
    return 7;
}
