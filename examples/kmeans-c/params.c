#include "params.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>

#include "kmeans.h"

static const char NOT_SO[] = "the params must be a list of points, each a list of numbers, and a"
                             " number of clusters: [[[0, 1], [2, 3]], 2]";

static char *read_all(FILE *file) {
    size_t size = 0, room = 1 << 16;
    char *text = malloc(room);
    while (text != NULL) {
        size += fread(text + size, 1, room - size - 1, file);
        if (feof(file) || ferror(file)) {
            text[size] = '\0';
            return text;
        }
        text = realloc(text, room *= 2);
    }
    return NULL;
}

/* Goes over white space and, if it is there, one letter. */
static bool take(const char **at, char letter) {
    while (isspace((unsigned char)**at)) ++*at;
    if (**at != letter) return false;
    ++*at;
    return true;
}

static bool number(const char **at, double *value) {
    char *end;
    *value = strtod(*at, &end);
    bool found = end != *at;
    *at = end;
    return found;
}

static bool add(struct points *points, size_t *room, size_t used, double value) {
    if (used == *room) {
        *room = *room ? 2 * *room : 1024;
        points->at = realloc(points->at, *room * sizeof *points->at);
    }
    if (points->at == NULL) return false;
    points->at[used] = value;
    return true;
}

const char *read_params(FILE *file, struct points *points, double *clusters) {
    *points = (struct points){0};
    size_t room = 0, used = 0;
    char *text = read_all(file);
    if (text == NULL) return "no memory";
    const char *at = text;
    if (!take(&at, '[') || !take(&at, '[')) return NOT_SO;
    do {
        if (!take(&at, '[')) return NOT_SO;
        size_t before = used;
        do {
            double value;
            if (!number(&at, &value)) return NOT_SO;
            if (!add(points, &room, used++, value)) return "no memory";
        } while (take(&at, ','));
        if (!take(&at, ']')) return NOT_SO;
        if (points->count++ == 0) points->axes = used;
        if (used - before != points->axes) return "the points must all have as many numbers";
    } while (take(&at, ','));
    if (!take(&at, ']') || !take(&at, ',') || !number(&at, clusters) || !take(&at, ']'))
        return NOT_SO;
    free(text);
    return NULL;
}
