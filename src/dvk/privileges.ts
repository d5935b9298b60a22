/**
 * What a process may do: the calls it may use, to whom it may send, and who may send to it.
 *
 * Peers are named by slot: a bit for each of the 64 fixed slots, and one bit for all the dynamic
 * ones. A process is bound with the calls of its level and with every peer.
 */
import { CallRight } from './abi/abi.gen.ts';
import type { RawPrivileges } from './native.ts';

/** Calls that are allowed one by one; see CallRight in docs/wire.md. */
export const CALL_NAMES = [
  'send',
  'receive',
  'sendrec',
  'notify',
  'rcvrqst',
  'reply',
  'relay',
  'vcopy',
  'waitBind',
  'notifySource',
  'notifyKernel',
  'privileges',
] as const;
export type CallName = (typeof CALL_NAMES)[number];

/** Slots as peers. */
export interface Peers {
  /** Bit n: the fixed slot n, 0 to 63. */
  fixed: bigint;
  /** Every dynamic slot. */
  dynamic: boolean;
}

export interface Privileges {
  calls: readonly CallName[];
  /** To whom it may send: the `ipc_to` of M3-IPC. */
  to: Peers;
  /** Who may send to it: the `ipc_from`. */
  from: Peers;
}

const BITS: Readonly<Record<CallName, number>> = {
  send: CallRight.SEND,
  receive: CallRight.RECEIVE,
  sendrec: CallRight.SENDREC,
  notify: CallRight.NOTIFY,
  rcvrqst: CallRight.RCVRQST,
  reply: CallRight.REPLY,
  relay: CallRight.RELAY,
  vcopy: CallRight.VCOPY,
  waitBind: CallRight.WAIT_BIND,
  notifySource: CallRight.NOTIFY_SOURCE,
  notifyKernel: CallRight.NOTIFY_KERNEL,
  privileges: CallRight.PRIVILEGES,
};
const FIXED_SLOTS = 64;

/** Every slot. */
export const ALL_PEERS: Peers = { fixed: (1n << BigInt(FIXED_SLOTS)) - 1n, dynamic: true };

/** The peers in these fixed slots, and in the dynamic ones when asked for. Throws RangeError. */
export function peersIn(slots: Iterable<number>, dynamic = false): Peers {
  let fixed = 0n;
  for (const slot of slots) {
    if (!Number.isInteger(slot) || slot < 0 || slot >= FIXED_SLOTS) {
      throw new RangeError(`a fixed slot must be an integer from 0 to ${String(FIXED_SLOTS - 1)}`);
    }
    fixed |= 1n << BigInt(slot);
  }
  return { fixed, dynamic };
}

/** As the addon has them. */
export function rawPrivileges(privileges: Privileges): RawPrivileges {
  const { calls, to, from } = privileges;
  let rights = calls.reduce((bits, call) => bits | BITS[call], 0);
  if (to.dynamic) rights |= CallRight.TO_DYNAMIC;
  if (from.dynamic) rights |= CallRight.FROM_DYNAMIC;
  return { rights, ipcTo: to.fixed, ipcFrom: from.fixed };
}

export function privilegesOf(raw: RawPrivileges): Privileges {
  const has = (bit: number): boolean => (raw.rights & bit) !== 0;
  return {
    calls: CALL_NAMES.filter((call) => has(BITS[call])),
    to: { fixed: raw.ipcTo, dynamic: has(CallRight.TO_DYNAMIC) },
    from: { fixed: raw.ipcFrom, dynamic: has(CallRight.FROM_DYNAMIC) },
  };
}
