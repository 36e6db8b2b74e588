/*
 * f2c calls every subroutine as a function that returns an int. Some of libf2c's return nothing,
 * which WebAssembly, unlike other machines, does not let pass: these are called by ones that do.
 */
#include "f2c.h"

#define exit_ exit_void
#define getarg_ getarg_void
#define getenv_ getenv_void
#define s_cat s_cat_void
#define s_copy s_copy_void
#include "exit_.c"
#include "f77_aloc.c"
#include "getarg_.c"
#include "getenv_.c"
#include "s_cat.c"
#include "s_copy.c"
#undef exit_
#undef getarg_
#undef getenv_
#undef s_cat
#undef s_copy

int exit_(integer *code) {
  exit_void(code);
  return 0;
}

int getarg_(ftnint *number, char *to, ftnlen size) {
  getarg_void(number, to, size);
  return 0;
}

int getenv_(char *name, char *to, ftnlen name_size, ftnlen size) {
  getenv_void(name, to, name_size, size);
  return 0;
}

int s_cat(char *to, char *parts[], ftnint sizes[], ftnint *count, ftnlen size) {
  s_cat_void(to, parts, sizes, count, size);
  return 0;
}

int s_copy(char *to, char *from, ftnlen size, ftnlen from_size) {
  s_copy_void(to, from, size, from_size);
  return 0;
}

/* Nobody is there to say that the program may go on: it goes on. */
int pause(void) { return 0; }
