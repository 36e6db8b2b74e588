/* k-means on points drawn from a fixed generator: the same work wherever it is compiled for.
   usage: kmeans POINTS DIMENSIONS CLUSTERS ROUNDS; prints a checksum of the centres. */
#include <stdio.h>
#include <stdlib.h>

static double draw(unsigned long long *state) {
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (double)(*state >> 11) / 9007199254740992.0;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: kmeans POINTS DIMENSIONS CLUSTERS ROUNDS\n");
        return 2;
    }
    size_t n = strtoul(argv[1], NULL, 10), d = strtoul(argv[2], NULL, 10);
    size_t k = strtoul(argv[3], NULL, 10), rounds = strtoul(argv[4], NULL, 10);
    double *x = malloc(n * d * sizeof *x), *c = malloc(k * d * sizeof *c);
    double *sum = malloc(k * d * sizeof *sum);
    size_t *count = malloc(k * sizeof *count);
    if (!x || !c || !sum || !count) return 1;
    unsigned long long state = 1;
    for (size_t i = 0; i < n * d; i++) x[i] = draw(&state);
    for (size_t j = 0; j < k; j++)
        for (size_t a = 0; a < d; a++) c[j * d + a] = x[(j * (n - 1) / (k - 1)) * d + a];
    for (size_t round = 0; round < rounds; round++) {
        for (size_t j = 0; j < k; j++) {
            count[j] = 0;
            for (size_t a = 0; a < d; a++) sum[j * d + a] = 0;
        }
        for (size_t i = 0; i < n; i++) {
            size_t best = 0;
            double least = 1e300;
            for (size_t j = 0; j < k; j++) {
                double distance = 0;
                for (size_t a = 0; a < d; a++) {
                    double step = x[i * d + a] - c[j * d + a];
                    distance += step * step;
                }
                if (distance < least) {
                    least = distance;
                    best = j;
                }
            }
            count[best]++;
            for (size_t a = 0; a < d; a++) sum[best * d + a] += x[i * d + a];
        }
        for (size_t j = 0; j < k; j++)
            if (count[j])
                for (size_t a = 0; a < d; a++) c[j * d + a] = sum[j * d + a] / (double)count[j];
    }
    double check = 0;
    for (size_t i = 0; i < k * d; i++) check += c[i];
    printf("%.9f\n", check);
    return 0;
}
