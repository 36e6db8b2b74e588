/* the same through posix_fallocate */
#include <fcntl.h>
int main(void) {
    int file = open("/allotted", O_CREAT | O_RDWR, 0644);
    return posix_fallocate(file, 0, 1LL << 40) == 0 ? 0 : 1;
}
