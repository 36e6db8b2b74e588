#include <stddef.h>

struct points {
    size_t count, axes; /* so many points, of so many numbers each */
    double *at;         /* one point after the other */
};

/* Assigns each point to a cluster. The centres start at evenly spaced points, and move until
   nothing changes. Returns as many numbers as there are points, counted from 0, or NULL when there
   is no memory. 1 <= clusters <= points->count. */
size_t *kmeans(const struct points *points, size_t clusters);
