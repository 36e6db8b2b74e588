#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
int main(void) {
    struct stat about;
    puts(stat("/left", &about) == 0 ? "true" : "false");
    open("/left", O_CREAT | O_WRONLY, 0644);
    return 0;
}
