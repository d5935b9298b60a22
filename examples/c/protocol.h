/*
 * What server.c and its clients have agreed on: request numbers, and where values lie in the
 * payload. A reply has the type 0, or a negative error.
 */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dvk.h"

enum {
  SERVER_SLOT = 20, /* a fixed slot: whoever knows its number can look the server up */
  REQUEST_ECHO = 1, /* the payload comes back as it was */
  REQUEST_ADD = 2,  /* adds the int64_t at 0 to the counter; the reply has the sum there */
};

static inline int64_t read_int64(const dvk_message* message) {
  int64_t value;
  memcpy(&value, message->payload, sizeof value);
  return value;
}

static inline void write_int64(dvk_message* message, int64_t value) {
  memcpy(message->payload, &value, sizeof value);
}

/* Ends the program when a call has failed; otherwise gives its result. */
static inline int64_t must(const char* what, int64_t result) {
  if (result >= 0) return result;
  fprintf(stderr, "%s: %s: %s\n", what, dvk_error_name(result), dvk_strerror(result));
  exit(1);
}

/* Opens the segment, or ends the program and says what is wrong with it. */
static inline dvk_segment* open_segment(const char* path) {
  dvk_segment* segment = NULL;
  const int error = dvk_open(path, &segment);
  if (dvk_open_reason()[0] != 0) fprintf(stderr, "%s\n", dvk_open_reason());
  must(path, error);
  return segment;
}

#endif
