/**
 * A server that can move to another node, with its state.
 *
 * `moving-server.js SEGMENT STATE SLOT` binds the server; `moving-server.js SEGMENT STATE backup
 * ENDPOINT NODE` its backup. It sends `{endpoint}` when it is bound. A request has a number, which
 * each client raises by one; the answer has twice that. What was served is kept in
 * the file STATE while nobody serves. A request of type COUNTS is answered with how many were
 * served, how many came twice, and how many were missing.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isDvkError, Segment, type Endpoint, type NodeId } from '../../src/dvk/index.ts';

export const COUNTS = 99;

interface State {
  served: number;
  repeated: number;
  missing: number;
  /** Last number of each client. */
  last: Record<string, number>;
}

const NUMBER = 2;
const TWICE = 3;

function count(state: State, client: Endpoint, number: number): void {
  const before = state.last[client] ?? 0;
  if (number <= before) state.repeated++;
  else state.missing += number - before - 1;
  state.last[client] = Math.max(before, number);
  state.served++;
}

function serve(path: string, stateFile: string, role: readonly string[]): never {
  const segment = Segment.open(path);
  const [slot = '', endpoint, node] = role;
  const own = segment.bind({
    name: 'moving',
    level: 'server',
    ...(slot === 'backup'
      ? { backup: { endpoint: Number(endpoint) as Endpoint, node: Number(node) as NodeId } }
      : { slot: Number(slot) }),
  });
  process.send?.({ endpoint: own.endpoint });
  const { message } = own;
  const kept = (): State => JSON.parse(readFileSync(stateFile, 'utf8')) as State;
  let state: State | undefined;
  for (;;) {
    try {
      own.rcvrqstSync();
    } catch (error) {
      if (!isDvkError(error, 'EDVSMIGRATING')) throw error;
      if (state) {
        writeFileSync(`${stateFile}.new`, JSON.stringify(state));
        renameSync(`${stateFile}.new`, stateFile);
      }
      state = undefined;
      continue;
    }
    state ??= kept();
    if (message.type === COUNTS) {
      message.int32.set([state.served, state.repeated, state.missing], NUMBER);
    } else {
      const number = message.int32[NUMBER] ?? 0;
      count(state, message.source, number);
      message.int32[TWICE] = 2 * number;
    }
    // A client that has given up waits for no answer.
    own.replyRaw(message.source);
  }
}

if (process.argv[1]?.endsWith('moving-server.js') === true) {
  const [path = '', stateFile = '', ...role] = process.argv.slice(2);
  serve(path, stateFile, role);
}
