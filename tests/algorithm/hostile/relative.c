/* writes to a path below the current folder, which must be the root */
#include <stdio.h>
int main(void) {
    FILE *out = fopen("result.txt", "w");
    if (!out) return 1;
    fputs("relative", out);
    fclose(out);
    return 0;
}
