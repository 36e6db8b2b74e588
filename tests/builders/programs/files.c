/* Does to files whatever a program can, and says how each step ended. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, long result) {
  printf("%s: %ld %s\n", what, result, result < 0 ? strerror(errno) : "");
}

static int order(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path) {
  char *names[300];
  int count = 0;
  DIR *folder = opendir(path);
  if (!folder) {
    say("opendir", -1);
    return;
  }
  struct dirent *entry;
  while ((entry = readdir(folder)) && count < 300) names[count++] = strdup(entry->d_name);
  closedir(folder);
  qsort(names, count, sizeof *names, order);
  printf("%s holds %d:", path, count);
  for (int i = 0; i < count && i < 12; i++) printf(" %s", names[i]);
  printf("\n");
}

static void content(const char *path) {
  char bytes[200];
  int fd = open(path, O_RDONLY);
  if (fd < 0) {
    say(path, -1);
    return;
  }
  long size = read(fd, bytes, sizeof bytes);
  struct stat stat;
  fstat(fd, &stat);
  printf("%s has %lld bytes:", path, (long long)stat.st_size);
  for (long i = 0; i < size; i++) printf(bytes[i] >= ' ' ? "%c" : "\\%d", bytes[i]);
  printf("\n");
  close(fd);
}

static void trees(void) {
  say("mkdir", mkdir("/a", 0777));
  say("mkdir twice", mkdir("/a", 0777));
  say("mkdir in nothing", mkdir("/no/b", 0777));
  say("mkdir with a slash", mkdir("a/b/", 0777));
  say("mkdir in a file", mkdir("/given.txt/b", 0777));
  say("rmdir not empty", rmdir("/a"));
  say("rmdir a file", rmdir("/given.txt"));
  say("unlink a folder", unlink("/a"));
  say("unlink nothing", unlink("/no"));
  say("above the root", open("../etc/passwd", O_RDONLY) < 0 ? 1 : 0);
  say("up and down", access("/a/b/../../given.txt", F_OK));
  say("up through nothing", access("/no/../given.txt", F_OK));
  char name[40];
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "/a/b/a-name-of-some-length-%d", i);
    close(open(name, O_CREAT | O_WRONLY, 0666));
  }
  list("/a/b");
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "/a/b/a-name-of-some-length-%d", i);
    if (unlink(name)) say(name, -1);
  }
  list("/a/b");
  say("rmdir", rmdir("/a/b"));
  list("/a");
}

static void files(void) {
  int fd = open("/f", O_CREAT | O_EXCL | O_RDWR, 0666);
  say("create", fd >= 0);
  say("create twice", open("/f", O_CREAT | O_EXCL | O_RDWR, 0666));
  say("as a folder", open("/f", O_DIRECTORY));
  say("a folder to write", open("/a", O_WRONLY));
  say("with a slash", open("/f/", O_RDONLY));
  say("nothing", open("/no", O_RDONLY));
  say("no name", open("", O_RDONLY));
  say("write", write(fd, "0123456789", 10));
  say("seek", lseek(fd, 3, SEEK_SET));
  say("write over", write(fd, "abc", 3));
  say("seek on", lseek(fd, 2, SEEK_CUR));
  say("seek from the end", lseek(fd, -1, SEEK_END));
  say("seek before the start", lseek(fd, -50, SEEK_END));
  say("pwrite", pwrite(fd, "Z", 1, 0));
  say("where", lseek(fd, 0, SEEK_CUR));
  char bytes[20] = {0};
  say("pread", pread(fd, bytes, 4, 2));
  printf("%s\n", bytes);
  content("/f");
  say("seek beyond", lseek(fd, 14, SEEK_SET));
  say("write beyond", write(fd, "!", 1));
  content("/f");
  say("cut", ftruncate(fd, 4));
  say("read beyond", read(fd, bytes, 4));
  content("/f");
  say("grow", ftruncate(fd, 8));
  content("/f");
  say("close", close(fd));
  say("close twice", close(fd));
  say("write to closed", write(fd, "x", 1));
  fd = open("/f", O_RDONLY);
  say("write to read", write(fd, "x", 1));
  close(fd);
  fd = open("/f", O_WRONLY);
  say("read to write", read(fd, bytes, 1));
  close(fd);
  fd = open("/f", O_WRONLY | O_APPEND);
  say("append", write(fd, "end", 3));
  close(fd);
  content("/f");
  close(open("/f", O_WRONLY | O_TRUNC));
  content("/f");
  fd = open("/f", O_RDWR);
  say("unlink open", unlink("/f"));
  say("write unlinked", write(fd, "x", 1));
  say("gone", access("/f", F_OK));
  close(fd);
}

static void names(void) {
  FILE *file = fopen("/one", "w");
  fputs("one\n", file);
  fclose(file);
  file = fopen("/two", "w");
  fputs("two\n", file);
  fclose(file);
  mkdir("/d", 0777);
  mkdir("/d/e", 0777);
  say("rename", rename("/one", "/d/uno"));
  say("rename nothing", rename("/one", "/x"));
  say("rename over", rename("/two", "/d/uno"));
  content("/d/uno");
  say("rename a folder into itself", rename("/d", "/d/e/f"));
  say("rename a folder over a file", rename("/d/e", "/d/uno"));
  say("rename a file over a folder", rename("/d/uno", "/d/e"));
  say("rename a folder", rename("/d", "/g"));
  say("rename to itself", rename("/g/uno", "/g/uno"));
  say("rename over a full folder", rename("/a", "/g"));
  say("rename a folder over an empty one", rename("/a", "/g/e"));
  list("/g");
  say("link", link("/g/uno", "/g/eins"));
  say("link over", link("/g/uno", "/g/eins"));
  struct stat stat_;
  stat("/g/eins", &stat_);
  printf("links %d, file %d, folder %d, size %lld\n", (int)stat_.st_nlink, S_ISREG(stat_.st_mode),
         S_ISDIR(stat_.st_mode), (long long)stat_.st_size);
  unlink("/g/uno");
  content("/g/eins");
  say("readlink of a file", readlink("/g/eins", (char[9]){0}, 9));
  struct timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 5}, {.tv_sec = 2000, .tv_nsec = 7}};
  say("set times", utimensat(AT_FDCWD, "/g/eins", times, 0));
  stat("/g/eins", &stat_);
  printf("read %lld.%ld, written %lld.%ld\n", (long long)stat_.st_atim.tv_sec,
         stat_.st_atim.tv_nsec, (long long)stat_.st_mtim.tv_sec, stat_.st_mtim.tv_nsec);
}

static void clocks(void) {
  struct timespec before, after, wait = {.tv_nsec = 30000000};
  clock_gettime(CLOCK_MONOTONIC, &before);
  nanosleep(&wait, NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  long long slept = (after.tv_sec - before.tv_sec) * 1000000000ll + after.tv_nsec - before.tv_nsec;
  printf("slept at least: %d\n", slept >= 29000000);
  printf("after 2020: %d\n", time(NULL) > 1577836800);
  struct pollfd polled = {.fd = 1, .events = POLLOUT};
  int ready = poll(&polled, 1, 5000);
  printf("ready to write: %d %d\n", ready, (polled.revents & POLLOUT) != 0);
  unsigned char noise[100] = {0};
  int different = 0;
  getentropy(noise, sizeof noise);
  for (int i = 1; i < 100; i++) different += noise[i] != noise[0];
  printf("random: %d\n", different > 50);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) printf("word %s\n", argv[i]);
  printf("variables: %d\n", getenv("PATH") != NULL || getenv("HOME") != NULL);
  char line[100];
  printf("input: %s\n", fgets(line, sizeof line, stdin));
  say("seek in the input", lseek(0, 0, SEEK_SET) == 0 ? 0 : 1);
  content("/given.txt");
  content("given.txt");
  trees();
  files();
  names();
  clocks();
  list("/");
  FILE *result = fopen("/results/deep.bin", "w");
  say("without its folder", result == NULL ? -1 : 0);
  mkdir("/results", 0777);
  result = fopen("/results/deep.bin", "w");
  for (int i = 0; i < 100000; i++) fputc(i & 255, result);
  fclose(result);
  fprintf(stderr, "to the error stream\n");
  return argc > 1 ? atoi(argv[1]) : 0;
}
