/*
 * The main program of an algorithm in Fortran 77, around f2c's run-time library: params come on
 * standard input as the JSON of a list, and a Fortran program reads records. Each param becomes
 * one record for READ(*,*): numbers as they are, texts in quotes, lists as their elements.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "f2c.h"
#include "fio.h"

#define INPUT_UNIT 5

extern int MAIN__(void);
extern void f_init(void);
extern void f_exit(void);

int xargc;
char **xargv;

struct text {
  char *bytes;
  size_t size, room;
};

static void put(struct text *text, int byte) {
  if (text->size == text->room) {
    text->room = text->room ? 2 * text->room : 4096;
    text->bytes = realloc(text->bytes, text->room);
    if (!text->bytes) {
      fputs("no memory for the params\n", stderr);
      exit(1);
    }
  }
  text->bytes[text->size++] = (char)byte;
}

static void put_all(struct text *text, const char *bytes) {
  while (*bytes) put(text, *bytes++);
}

static void put_utf8(struct text *text, unsigned long code) {
  if (code < 0x80) {
    put(text, (int)code);
    return;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  put(text, (int)((0xF00 >> more & 0xFF) | code >> 6 * more));
  while (more--) put(text, (int)(0x80 | (code >> 6 * more & 0x3F)));
}

static unsigned long hexadecimal(const char **at) {
  char digits[5] = {0};
  strncpy(digits, *at, 4);
  *at += strlen(digits);
  return strtoul(digits, NULL, 16);
}

/* A text of JSON, from after its quote to after its other one, as a text of Fortran. */
static const char *put_string(struct text *text, const char *at) {
  put(text, '\'');
  for (; *at && *at != '"'; at++) {
    if (*at == '\'') {
      put_all(text, "''");
    } else if (*at != '\\') {
      put(text, *at);
    } else if (*++at == 'u') {
      at++;
      unsigned long code = hexadecimal(&at);
      if (code >= 0xD800 && code < 0xDC00 && at[0] == '\\' && at[1] == 'u') {
        at += 2;
        code = 0x10000 + ((code - 0xD800) << 10) + (hexadecimal(&at) - 0xDC00);
      }
      put_utf8(text, code);
      at--;
    } else if (*at && strchr("nrtbf", *at)) {
      put(text, ' ');
    } else if (*at) {
      put(text, *at);
    }
  }
  put(text, '\'');
  return *at ? at + 1 : at;
}

static struct text records_of(const char *json) {
  struct text text = {0};
  int depth = 0;
  for (const char *at = json; *at;) {
    if (*at == '"') {
      at = put_string(&text, at + 1);
    } else if (!strncmp(at, "null", 4)) {
      put_all(&text, "1*"); /* a null value: the variable stays as it was */
      at += 4;
    } else {
      if (*at == '[' || *at == '{') depth++;
      if (*at == ']' || *at == '}') depth--;
      put(&text, *at == ',' && depth == 1 ? '\n' : strchr("[]{},:\n", *at) ? ' ' : *at);
      at++;
    }
  }
  put(&text, '\n');
  return text;
}

static struct text all_of(FILE *file) {
  struct text text = {0};
  int byte;
  while ((byte = getc(file)) != EOF) put(&text, byte);
  put(&text, 0);
  return text;
}

/* WASI has no place for files without a name. */
FILE *tmpfile(void) {
  static int count;
  char name[32];
  snprintf(name, sizeof name, "/fort.scratch.%d", ++count);
  FILE *file = fopen(name, "w+b");
  if (file) remove(name);
  return file;
}

int main(int argc, char **argv) {
  xargc = argc;
  xargv = argv;
  f_init();
  atexit(f_exit);
  struct text input = all_of(stdin);
  if (input.bytes[strspn(input.bytes, " \t\r\n")] == '[') {
    struct text records = records_of(input.bytes);
    free(input.bytes);
    input = records;
  } else {
    input.bytes[input.size - 1] = '\n'; /* a last line without its end would not be read */
  }
  f__units[INPUT_UNIT].ufd = fmemopen(input.bytes, input.size, "r");
  MAIN__();
  return 0;
}
