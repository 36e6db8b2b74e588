/* folders in folders, deeper than any path can say, with odd names among them */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    int here = open("/", O_RDONLY | O_DIRECTORY);
    mkdir("/\001", 0755);
    close(open("/\0010", O_CREAT | O_WRONLY, 0644));
    int depth = 0;
    for (; depth < 600; depth++) {
        if (mkdirat(here, "dddddddddddddddd", 0755) != 0) break;
        int next = openat(here, "dddddddddddddddd", O_RDONLY | O_DIRECTORY);
        if (next < 0) break;
        close(here);
        here = next;
        close(openat(here, "file", O_CREAT | O_WRONLY, 0644));
    }
    printf("%d\n", depth);
    return 0;
}
