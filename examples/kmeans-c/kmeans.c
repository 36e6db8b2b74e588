#include "kmeans.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static size_t nearest(const double *point, const double *centres, size_t clusters, size_t axes) {
    size_t best = 0;
    double least = INFINITY;
    for (size_t j = 0; j < clusters; j++) {
        double distance = 0;
        for (size_t a = 0; a < axes; a++) {
            double step = point[a] - centres[j * axes + a];
            distance += step * step;
        }
        if (distance < least) {
            least = distance;
            best = j;
        }
    }
    return best;
}

static void move(double *centres, double *sums, size_t *counts, const struct points *points,
                 const size_t *labels, size_t clusters) {
    size_t axes = points->axes;
    memset(sums, 0, clusters * axes * sizeof *sums);
    memset(counts, 0, clusters * sizeof *counts);
    for (size_t i = 0; i < points->count; i++) {
        counts[labels[i]]++;
        for (size_t a = 0; a < axes; a++) sums[labels[i] * axes + a] += points->at[i * axes + a];
    }
    for (size_t j = 0; j < clusters; j++) {
        /* a cluster that nobody belongs to stays where it is */
        if (counts[j] == 0) continue;
        for (size_t a = 0; a < axes; a++) centres[j * axes + a] = sums[j * axes + a] / counts[j];
    }
}

size_t *kmeans(const struct points *points, size_t clusters) {
    size_t axes = points->axes;
    double *centres = malloc(clusters * axes * sizeof *centres);
    double *sums = malloc(clusters * axes * sizeof *sums);
    size_t *counts = malloc(clusters * sizeof *counts);
    size_t *labels = malloc(points->count * sizeof *labels);
    if (centres == NULL || sums == NULL || counts == NULL || labels == NULL) return NULL;
    for (size_t j = 0; j < clusters; j++) {
        size_t from = clusters == 1 ? 0 : j * (points->count - 1) / (clusters - 1);
        memcpy(centres + j * axes, points->at + from * axes, axes * sizeof *centres);
    }
    for (size_t i = 0; i < points->count; i++) labels[i] = clusters;
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < points->count; i++) {
            size_t label = nearest(points->at + i * axes, centres, clusters, axes);
            changed |= label != labels[i];
            labels[i] = label;
        }
        if (changed) move(centres, sums, counts, points, labels, clusters);
    }
    free(centres);
    free(sums);
    free(counts);
    return labels;
}
