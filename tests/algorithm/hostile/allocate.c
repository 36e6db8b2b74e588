#include <stdlib.h>
#include <string.h>
static char *volatile last; /* so that the compiler cannot leave the allocations out */
int main(void) {
    for (;;) {
        char *more = malloc(1 << 20);
        if (more) last = memset(more, 1, 1 << 20);
    }
}
