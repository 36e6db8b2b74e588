#include <fcntl.h>
#include <unistd.h>
int main(void) {
    static char block[1 << 16];
    int file = open("/full", O_CREAT | O_WRONLY, 0644);
    for (;;) write(file, block, sizeof block);
}
