/* k-means: params are [POINTS, CLUSTERS], the value is the number of each point's cluster. */
#include <stdio.h>

#include "kmeans.h"
#include "params.h"

int main(void) {
    struct points points;
    double clusters;
    const char *wrong = read_params(stdin, &points, &clusters);
    if (wrong == NULL && (clusters < 1 || clusters > points.count || clusters != (size_t)clusters))
        wrong = "the number of clusters must be between 1 and that of the points";
    if (wrong != NULL) {
        fprintf(stderr, "%s\n", wrong);
        return 2;
    }
    size_t *labels = kmeans(&points, (size_t)clusters);
    if (labels == NULL) {
        fputs("no memory\n", stderr);
        return 1;
    }
    for (size_t i = 0; i < points.count; i++) printf("%c%zu", i ? ',' : '[', labels[i]);
    puts("]");
    return 0;
}
