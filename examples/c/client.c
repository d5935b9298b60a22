/*
 * Calls a server of protocol.h, in whatever language it is written and on whatever node.
 *
 *   client SEGMENT TEXT NUMBER...
 *
 * Prints TEXT as the server echoes it, then the counter after each NUMBER was added.
 */
#include "protocol.h"

enum { TIMEOUT_MS = 5000 };

/* Makes a request, and ends the program when there is no reply or it is an error. */
static void call(dvk_process* process, int32_t server, dvk_message* message) {
  must("sendrec", dvk_sendrec(process, server, message, TIMEOUT_MS));
  must("reply", message->type);
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: client SEGMENT TEXT NUMBER...\n");
    return 2;
  }
  dvk_segment* segment = open_segment(argv[1]);
  const int32_t server = (int32_t)must("lookup", dvk_lookup(segment, SERVER_SLOT));
  dvk_process* process = NULL;
  must("bind", dvk_bind(segment, -1, DVK_LEVEL_USER, "c-client", &process));

  dvk_message message = {.type = REQUEST_ECHO};
  strncpy((char*)message.payload, argv[2], sizeof message.payload - 1);
  call(process, server, &message);
  printf("echo %.*s\n", (int)sizeof message.payload, (const char*)message.payload);

  for (int i = 3; i < argc; i++) {
    message.type = REQUEST_ADD;
    write_int64(&message, strtoll(argv[i], NULL, 10));
    call(process, server, &message);
    printf("counter %lld\n", (long long)read_int64(&message));
  }

  must("unbind", dvk_unbind(process));
  must("close", dvk_close(segment));
  return 0;
}
