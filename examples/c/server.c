/*
 * A server of two requests, see protocol.h. It ends on SIGINT or SIGTERM.
 *
 *   server SEGMENT
 */
#include <errno.h>
#include <signal.h>

#include "protocol.h"

static void on_signal(int number) {
  (void)number;
  dvk_interrupt();
}

/* Turns a request into its reply. */
static void serve(dvk_message* message, int64_t* counter) {
  switch (message->type) {
    case REQUEST_ECHO:
      message->type = 0;
      break;
    case REQUEST_ADD:
      *counter += read_int64(message);
      write_int64(message, *counter);
      message->type = 0;
      break;
    default:
      message->type = -DVK_EBADREQUEST;
  }
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: server SEGMENT\n");
    return 2;
  }
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  dvk_segment* segment = open_segment(argv[1]);
  dvk_process* process = NULL;
  must("bind", dvk_bind(segment, SERVER_SLOT, DVK_LEVEL_SERVER, "c-server", &process));
  printf("ready %d\n", dvk_endpoint(process));
  fflush(stdout);

  int64_t counter = 0;
  dvk_message message;
  int result = dvk_rcvrqst(process, &message, -1);
  while (result == 0) {
    serve(&message, &counter);
    /* The source is still that of the request, so the reply goes to its sender. */
    result = dvk_reply_receive(process, message.source, &message, -1);
  }
  if (result != -EINTR) must("receive", result);

  printf("counted %lld\n", (long long)counter);
  must("unbind", dvk_unbind(process));
  must("close", dvk_close(segment));
  return 0;
}
