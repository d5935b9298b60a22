/**
 * Vouchers: how a node knows that a copy from a third node was asked for.
 *
 * For a COPYRMT_RQST of node A, the source node B sends data to the destination node C, and says
 * that a process of A asked for it. C checks the grants of that process, so B's word must not be
 * enough: it could write to whatever memory A's processes may. Therefore each node gives each peer
 * a random key of its own with HELLO, over the link that both have with each other. A's proxy signs
 * what A's process asked for with the key that C gave to A (HMAC-SHA256 over every field of the
 * copy, the nodes, and the number of the call), and B passes the signature on. C takes data for a
 * call once, and takes none of an older call. A key lives as long as the link.
 *
 * The voucher lies in the message of the command, which copies do not use otherwise.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { CommandKind, CommandLayout, Limit } from '../dvk/abi/abi.gen.ts';
import { generationOf, slotOf, type Endpoint } from '../dvk/endpoint.ts';
import { viewOf } from './frame.ts';

export const VOUCHER_KEY_BYTES = 32;
const VOUCHER_BYTES = 32;
const COPY_FIELDS_BYTES = CommandLayout.name - CommandLayout.copySource;

/** A new key for a peer. */
export function newVoucherKey(): Uint8Array {
  return randomBytes(VOUCHER_KEY_BYTES);
}

/** The keys of one link, and what was taken with them. */
interface Keys {
  /** Was given to the peer: what it asks for is signed with it. */
  readonly given: Uint8Array;
  /** Came from the peer: signs what this node asks for. */
  readonly received: Uint8Array;
  /** The last call of the peer's requesters, by DC and slot. */
  readonly calls: Map<string, Call>;
}

interface Call {
  readonly generation: number;
  readonly number: number;
}

/** Who passes the data on, and where it goes. */
interface Route {
  readonly source: number;
  readonly destination: number;
}

function sign(key: Uint8Array, command: Uint8Array, { source, destination }: Route): Uint8Array {
  const view = viewOf(command);
  const numbers = [
    view.getUint32(CommandLayout.dcId, true),
    view.getUint32(CommandLayout.callId, true),
    view.getUint32(CommandLayout.requester, true),
    view.getUint32(CommandLayout.requesterNode, true),
    source,
    destination,
  ];
  const head = new Uint8Array(4 * numbers.length);
  numbers.forEach((number, i) => {
    viewOf(head).setUint32(4 * i, number, true);
  });
  const at = CommandLayout.copySource;
  const copy = command.subarray(at, at + COPY_FIELDS_BYTES);
  return createHmac('sha256', key).update(head).update(copy).digest();
}

function placeIn(command: Uint8Array): Uint8Array {
  return command.subarray(CommandLayout.message, CommandLayout.message + VOUCHER_BYTES);
}

/** The vouchers of one node: for what it asks, and for what it is asked. */
export class Vouchers {
  readonly #self: number;
  readonly #keys = new Map<number, Keys>();

  constructor(self: number) {
    this.#self = self;
  }

  /** A link with `node` is up, with these keys. */
  add(node: number, given: Uint8Array, received: Uint8Array): void {
    this.#keys.set(node, { given, received, calls: new Map() });
  }

  /** The link is over. */
  remove(node: number): void {
    this.#keys.delete(node);
  }

  /**
   * Signs a command of this node when it is one that needs it. Without a link to the destination
   * there is no key, and nobody who would take the data.
   */
  issue(command: Uint8Array): void {
    const view = viewOf(command);
    if (view.getUint32(CommandLayout.kind, true) !== CommandKind.COPYRMT_RQST) return;
    const destination = view.getUint32(CommandLayout.copyDestinationNode, true);
    const keys = this.#keys.get(destination);
    if (keys === undefined) return;
    const source = view.getUint32(CommandLayout.destinationNode, true);
    placeIn(command).set(sign(keys.received, command, { source, destination }));
  }

  /** Whether a command that came may be acted on; each voucher is good once. */
  accepts(command: Uint8Array): boolean {
    const view = viewOf(command);
    if (view.getUint32(CommandLayout.kind, true) !== CommandKind.COPYIN_RQST) return true;
    const keys = this.#keys.get(view.getUint32(CommandLayout.requesterNode, true));
    if (keys === undefined) return false;
    const source = view.getUint32(CommandLayout.sourceNode, true);
    const expected = sign(keys.given, command, { source, destination: this.#self });
    if (!timingSafeEqual(expected, placeIn(command))) return false;
    return isNewer(keys.calls, command);
  }
}

// One entry a slot: the process that has it now, and its last call.
function isNewer(calls: Map<string, Call>, command: Uint8Array): boolean {
  const view = viewOf(command);
  const requester = view.getInt32(CommandLayout.requester, true) as Endpoint;
  const slot = `${view.getUint32(CommandLayout.dcId, true)} ${slotOf(requester)}`;
  const call = {
    generation: generationOf(requester),
    number: view.getUint32(CommandLayout.callId, true),
  };
  const last = calls.get(slot);
  if (last !== undefined) {
    const generations = Limit.GENERATION_MAX + 1;
    const age = (call.generation - last.generation + generations) % generations;
    if (age > generations / 2) return false;
    // Numbers wrap around.
    if (age === 0 && ((call.number - last.number) | 0) <= 0) return false;
  }
  calls.set(slot, call);
  return true;
}
