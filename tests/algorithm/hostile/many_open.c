/* opens the same file until it may not; answers how often it could */
#include <fcntl.h>
#include <stdio.h>
int main(void) {
    int count = 0;
    while (count < 100000 && open("/one", O_CREAT | O_RDWR, 0644) >= 0) count++;
    printf("%d\n", count);
    return 0;
}
