#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    char name[32];
    for (unsigned i = 0;; i++) {
        snprintf(name, sizeof name, "/f%u", i);
        int file = open(name, O_CREAT | O_WRONLY, 0644);
        if (file >= 0) close(file);
    }
}
