/* a hundred files that say they are as large as the disk limit in params, and hold nothing */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    long size = 0;
    if (scanf("[%ld]", &size) != 1) return 1;
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "/hole%d", i);
        int file = open(name, O_CREAT | O_RDWR, 0644);
        if (file < 0 || ftruncate(file, size) != 0) return 2;
        close(file);
    }
    return 0;
}
