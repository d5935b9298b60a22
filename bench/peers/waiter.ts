/**
 * A Node process that waits in a receive, blocking or awaited, and answers each sendrec with its
 * counter plus one. It runs until it is killed.
 */
import { Segment, type Process } from '../../src/dvk/index.ts';
import { configuration, followParent, reportReady } from './protocol.ts';

export interface WaiterConfig {
  readonly mode: 'sync' | 'await';
  readonly segment: string;
}

// The first word of the payload.
const COUNTER = 2;

function answer(server: Process): void {
  const words = server.message.int32;
  words[COUNTER] = ((words[COUNTER] ?? 0) + 1) | 0;
}

followParent();
const { mode, segment } = configuration() as WaiterConfig;
const server = Segment.open(segment).bind({ level: 'server', name: 'waiter' });
reportReady({ endpoint: server.endpoint });
if (mode === 'sync') {
  server.rcvrqstSync();
  for (;;) {
    answer(server);
    server.replyReceiveSync(server.message.source);
  }
}
for (;;) {
  await server.rcvrqst();
  answer(server);
  server.replySync(server.message.source);
}
