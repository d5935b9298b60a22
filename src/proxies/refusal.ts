/**
 * The answer to a call that the core of this node could not take in: its caller would wait for ever
 * else. What nobody waits for is dropped without a word.
 */
import { constants } from 'node:os';
import { CommandKind, CommandLayout, ErrorNumber } from '../dvk/abi/abi.gen.ts';
import { viewOf } from './frame.ts';

const AWAITED: readonly number[] = [
  CommandKind.SEND_MSG,
  CommandKind.SNDREC_MSG,
  CommandKind.ASYNC_MSG,
  CommandKind.COPYIN_DATA,
  CommandKind.COPYOUT_RQST,
  CommandKind.COPYLCL_RQST,
  CommandKind.COPYRMT_RQST,
];
// The slot of the caller is that of another node's process, as far as this node knows; or the table
// of processes was locked for long. All else is no honest caller's.
const TOLD: readonly number[] = [-ErrorNumber.EDVSSLOTUSED, -constants.errno.ETIMEDOUT];

/** The acknowledgement of `command`, which ended with `result`; undefined when nobody waits. */
export function encodeRefusal(command: Uint8Array, result: number): Uint8Array | undefined {
  const asked = viewOf(command);
  const kind = asked.getUint32(CommandLayout.kind, true);
  if (!AWAITED.includes(kind) || !TOLD.includes(result)) return undefined;
  const answer = new Uint8Array(CommandLayout.BYTES);
  const view = viewOf(answer);
  view.setUint32(CommandLayout.kind, kind | CommandKind.ACK, true);
  for (const [to, from] of SWAPPED) {
    view.setUint32(CommandLayout[to], asked.getUint32(CommandLayout[from], true), true);
  }
  view.setInt32(CommandLayout.result, result, true);
  return answer;
}

const SWAPPED = [
  ['dcId', 'dcId'],
  ['source', 'destination'],
  ['destination', 'source'],
  ['sourceNode', 'destinationNode'],
  ['destinationNode', 'sourceNode'],
  ['callId', 'callId'],
] as const;
