/* makes a file that says it holds a tebibyte */
#include <fcntl.h>
#include <unistd.h>
int main(void) {
    int file = open("/sparse", O_CREAT | O_RDWR, 0644);
    if (ftruncate(file, 1LL << 40) != 0) return 1;
    return 0;
}
