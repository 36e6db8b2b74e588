/* A call that does nothing but take a file and leave one. */
#include <stdio.h>

int main(void) {
    char data[4096];
    FILE *in = fopen("/in.bin", "rb"), *out = fopen("/out.bin", "wb");
    if (!in || !out) return 1;
    size_t size;
    while ((size = fread(data, 1, sizeof data, in)) > 0) fwrite(data, 1, size, out);
    if (fclose(out)) return 1;
    puts("1");
    return 0;
}
