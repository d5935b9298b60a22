/*
 * Moves a block between two programs: one grants it, the other copies it.
 *
 *   copy SEGMENT give BYTES    takes arena memory, fills it, and lends it out once
 *   copy SEGMENT take          copies the block to memory of its own, and checks it
 *
 * The block lies in the arena, which both map, so the copy is one memcpy; of private memory it
 * would be one system call. Between nodes dvk_vcopy() is the same call.
 */
#include "protocol.h"

enum { GIVER_SLOT = 21, REQUEST_LEND = 1, REQUEST_DONE = 2, TIMEOUT_MS = 5000 };

/* The reply to REQUEST_LEND. */
struct loan {
  int32_t grant;
  uint32_t reserved;
  uint64_t bytes;
};

static uint8_t byte_at(uint64_t offset) {
  return (uint8_t)(offset * 31 + offset / 251);
}

static void give(dvk_process* process, uint64_t bytes) {
  void* address = NULL;
  const int64_t offset = must("allocate", dvk_arena_allocate(process, bytes, &address));
  for (uint64_t i = 0; i < bytes; i++) ((uint8_t*)address)[i] = byte_at(i);
  printf("ready %d\n", dvk_endpoint(process));
  fflush(stdout);

  /* The grant is for whoever asks first, and for nobody else. */
  dvk_message message;
  must("receive", dvk_rcvrqst(process, &message, -1));
  const int32_t taker = message.source;
  const int64_t grant = must("grant", dvk_grant(process, address, bytes, DVK_RIGHT_READ, taker));
  const struct loan loan = {.grant = (int32_t)grant, .bytes = bytes};
  message.type = 0;
  memcpy(message.payload, &loan, sizeof loan);
  must("reply", dvk_reply(process, taker, &message));

  must("receive", dvk_receive(process, taker, &message, TIMEOUT_MS));
  must("revoke", dvk_revoke(process, (int32_t)grant));
  must("free", dvk_arena_free(process, (uint64_t)offset));
  printf("lent %llu bytes\n", (unsigned long long)bytes);
}

static void take(dvk_segment* segment, dvk_process* process) {
  const int32_t giver = (int32_t)must("lookup", dvk_lookup(segment, GIVER_SLOT));
  dvk_message message = {.type = REQUEST_LEND};
  must("sendrec", dvk_sendrec(process, giver, &message, TIMEOUT_MS));
  struct loan loan;
  memcpy(&loan, message.payload, sizeof loan);

  uint8_t* block = malloc(loan.bytes);
  if (block == NULL) exit(1);
  const dvk_party source = dvk_granted(giver, loan.grant, 0);
  const dvk_party destination = dvk_own(block);
  must("vcopy", dvk_vcopy(process, &source, &destination, loan.bytes, TIMEOUT_MS));
  message.type = REQUEST_DONE;
  must("send", dvk_send(process, giver, &message, TIMEOUT_MS));

  uint64_t good = 0;
  while (good < loan.bytes && block[good] == byte_at(good)) good++;
  printf("took %llu of %llu bytes\n", (unsigned long long)good, (unsigned long long)loan.bytes);
  free(block);
}

int main(int argc, char** argv) {
  const int gives = argc == 4 && strcmp(argv[2], "give") == 0;
  if (!gives && !(argc == 3 && strcmp(argv[2], "take") == 0)) {
    fprintf(stderr, "usage: copy SEGMENT give BYTES | copy SEGMENT take\n");
    return 2;
  }
  dvk_segment* segment = open_segment(argv[1]);
  dvk_process* process = NULL;
  const int level = gives ? DVK_LEVEL_SERVER : DVK_LEVEL_USER;
  must("bind", dvk_bind(segment, gives ? GIVER_SLOT : -1, level, argv[2], &process));
  if (gives) {
    give(process, strtoull(argv[3], NULL, 10));
  } else {
    take(segment, process);
  }
  must("unbind", dvk_unbind(process));
  must("close", dvk_close(segment));
  return 0;
}
