#include <stdio.h>

struct points;

/* Reads [POINTS, CLUSTERS] as JSON, where POINTS is a list of lists of as many numbers.
   Returns NULL, or what is wrong with it. */
const char *read_params(FILE *file, struct points *points, double *clusters);
