/* tries to read the file that params name by every way there is; answers what it could read */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int found;

static void try(const char *path) {
    char text[256];
    int file = open(path, O_RDONLY);
    if (file < 0) return;
    ssize_t got = read(file, text, sizeof text - 1);
    if (got > 0) {
        text[got] = 0;
        for (char *c = text; *c; c++)
            if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = ' ';
        printf("%s\"%s\"", found++ ? ", " : "", text);
    }
    close(file);
}

int main(void) {
    char target[1024], path[4096], up[] = "../../../../../../../../../../../..";
    if (scanf("[\"%1023[^\"]\"]", target) != 1) return 1;
    printf("[");
    try(target);
    try("/etc/passwd");
    try("/proc/self/environ");
    snprintf(path, sizeof path, "%s%s", up, target);
    try(path);
    snprintf(path, sizeof path, "/%s%s", up, target);
    try(path);
    mkdir("/sub", 0755);
    snprintf(path, sizeof path, "/sub/../%s%s", up, target);
    try(path);
    symlink(target, "/absolute");
    try("/absolute");
    snprintf(path, sizeof path, "%s%s", up, target);
    symlink(path, "/relative");
    try("/relative");
    symlink(path, "/sub/deeper");
    try("/sub/deeper");
    symlink(up, "/above");
    snprintf(path, sizeof path, "/above%s", target);
    try(path);
    symlink("/", "/top");
    snprintf(path, sizeof path, "/top%s", target);
    try(path);
    link(target, "/hard");
    try("/hard");
    rename(target, "/moved");
    try("/moved");
    int root = open("/", O_RDONLY | O_DIRECTORY);
    char *back = up;
    int parent = openat(root, back, O_RDONLY | O_DIRECTORY);
    if (parent >= 0) {
        int file = openat(parent, target + 1, O_RDONLY);
        if (file >= 0) printf("%s\"openat\"", found++ ? ", " : "");
    }
    for (int fd = 0; fd < 64; fd++) {
        int file = openat(fd, target + 1, O_RDONLY);
        if (file >= 0) printf("%s\"openat %d\"", found++ ? ", " : "", fd);
    }
    printf("]\n");
    return 0;
}
