/* makes a folder on the way to the result a link, and the result a link to a file inside */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    char target[1024];
    if (scanf("[\"%1023[^\"]\"]", target) != 1) return 1;
    symlink(target, "/out");
    mkdir("/real", 0755);
    close(open("/real/file", O_CREAT | O_WRONLY, 0644));
    symlink("file", "/real/link");
    link("/real/file", "/real/hard");
    mkdir("/real/folder", 0755);
    return 0;
}
