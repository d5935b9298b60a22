/**
 * `dvk bench ipc`: round trips of a 64-byte message between two processes, through the kernel's
 * calls and through what else the host and Node.js offer. `dvk bench notify` is the part of it that
 * is about notifications, and notifications one way; `dvk bench senda` has messages one way, and
 * `dvk bench wake` the means to wake an event loop.
 *
 * Every message carries a counter that must come back changed. pure-spin, two processes that watch
 * a shared word, is the limit of the machine; on one core it shows what spinning costs there, and
 * pure-yield is the limit: who waits gives the core away.
 * futex, the same with a sleep at once, is what blocking costs without a kernel of ours.
 *
 * A mix is 16 exchanges in turn: 8 messages by sendrec, 3 by send and answered by send, 3
 * notifications answered by one, and 2 by sendrec whose server copies 16 KiB out of the arena
 * before it answers.
 */
import { createRequire } from 'node:module';

import type { Cleanup } from './cleanup.ts';
import type { Case, Unit } from './harness.ts';
import { startNative, type NativeRun } from './native-case.ts';
import { nodeCases, type NodeSubject, type Pair } from './node-case.ts';
import { PAIRS_MAX } from './options.ts';
import { Peer, type PeerProgram } from './peer-case.ts';
import type { KernelConfig, KernelMode } from './peers/kernel.ts';
import { MIX_BLOCK_BYTES } from './peers/mix.ts';

import { cpusOfPairs, type Placement } from './placement.ts';
import { createSegment, createWatchedSegment } from './segment.ts';

const NATIVE_CASES = [
  'dvk-c-sendrec',
  'dvk-c-notify',
  'dvk-c-mix',
  'pipe',
  'fifo',
  'unix-stream',
  'unix-seqpacket',
  'tcp',
  'posix-mq',
  'eventfd',
  'futex',
  'pure-spin',
  'pure-yield',
];
// The means to wake an event loop.
const LOOP_CASES = ['loop-fifo', 'loop-eventfd', 'loop-io-uring'];
const STREAM_CASES = ['dvk-c-notify-stream', 'eventfd-stream'];
const ONE_WAY_CASES = [
  ...['dvk-c-senda', 'dvk-c-send', 'pipe', 'unix-stream', 'unix-seqpacket', 'tcp', 'posix-mq'],
];
const KERNEL_CASES: readonly [name: string, mode: KernelMode][] = [
  ['dvk-ts-sendrec', 'sync'],
  ['dvk-ts-sendrec-async', 'await'],
  ['dvk-ts-notify', 'notify'],
  ['dvk-ts-mix', 'mix'],
];
const NODE_CASES: readonly NodeCase[] = [
  { name: 'message-port', variant: 'bytes', program: 'ports', config: { shape: 'bytes' } },
  { name: 'message-port', variant: 'object', program: 'ports', config: { shape: 'object' } },
  { name: 'atomics-wait', program: 'atomics', config: {} },
  { name: 'node-unix-stream', program: 'sockets', config: { role: 'client' } },
  {
    name: 'child-process',
    variant: 'json',
    program: 'channel',
    config: { role: 'client', serialization: 'json' },
  },
  {
    name: 'child-process',
    variant: 'advanced',
    program: 'channel',
    config: { role: 'client', serialization: 'advanced' },
  },
  { name: 'zeromq', program: 'zeromq', config: { role: 'client' } },
];
// What `dvk bench notify` has beside the streams.
const NOTIFY_CASES = [
  ...['dvk-c-notify', 'dvk-ts-notify', 'dvk-c-sendrec'],
  ...['eventfd', 'futex', 'pipe', 'pure-spin'],
];
// What shows how a machine takes several pairs, when nobody asks for a number of pairs.
const PAIRED_CASES = ['dvk-c-sendrec', 'dvk-ts-sendrec', 'futex', 'pipe', 'unix-stream'];
const PAIRS_BY_DEFAULT: readonly number[] = [1, 2, 4];
// What is run among hogs: what we promise there, and what it is compared with.
const HOGS_CASES = [...PAIRED_CASES, 'dvk-ts-sendrec-async', 'message-port'];

interface NodeCase {
  readonly name: string;
  readonly variant?: string;
  readonly program: PeerProgram;
  readonly config: object;
}

export interface IpcOptions {
  readonly placements: readonly Placement[];
  /** Numbers of pairs; undefined for the usual ones. */
  readonly pairs: readonly number[] | undefined;
  /** Whether Node programs are started anew for each run. */
  readonly fresh: boolean;
  /** Told of a case that is left out, and why. */
  readonly note: (what: string) => void;
}

/**
 * Whether ZeroMQ is there: it is installed for development only, and comes compiled for the usual
 * machines only.
 */
export function hasZeromq(): boolean {
  try {
    createRequire(import.meta.url)('zeromq');
    return true;
  } catch {
    return false;
  }
}

// The least that a segment can have: fixed slots for the servers, others for the clients.
const SEGMENT = { processes: 128, arenaBytes: PAIRS_MAX * MIX_BLOCK_BYTES };

/** A client and a server that blocks in its calls; the client tells the server when to end. */
async function startPair(config: Omit<KernelConfig, 'role'>): Promise<Pair> {
  const server = await Peer.start('kernel', { ...config, role: 'server' });
  const client = await Peer.start('kernel', { ...config, role: 'client' });
  return {
    pids: [...client.pids, ...server.pids],
    run: async (request) => client.run(request),
    close: async () => {
      await client.close();
      await server.close();
    },
  };
}

/** Where a case runs, and with how many pairs: of several, one a core shows what cores add. */
function settingsOf(name: string, options: IpcOptions): NodeSubject['settings'] {
  return options.placements.flatMap((placement) => {
    if (placement === 'one-core-hogs' && !HOGS_CASES.includes(name)) return [];
    const usual = placement === 'one-core' && PAIRED_CASES.includes(name) ? PAIRS_BY_DEFAULT : [1];
    return (options.pairs ?? usual).map((pairs) => ({ placement, pairs }));
  });
}

function howOf(name: string, options: IpcOptions): Pick<NodeSubject, 'settings' | 'fresh'> {
  return { settings: settingsOf(name, options), fresh: options.fresh };
}

function nativeCases(
  { group, name, unit }: Pick<NativeRun, 'group' | 'name'> & { unit: Unit },
  options: IpcOptions,
): Case[] {
  return settingsOf(name, options).map(({ placement, pairs }) => ({
    name,
    placement,
    pairs,
    unit,
    start: async () => startNative({ group, name, cpus: cpusOfPairs(placement, pairs) }),
  }));
}

/** A segment for each crowd of `nodeCases`, when it is asked for. */
function segmentOfEach(create: () => string): (crowd: string) => string {
  const paths = new Map<string, string>();
  return (crowd) => {
    const path = paths.get(crowd) ?? create();
    paths.set(crowd, path);
    return path;
  };
}

function kernelCases(options: IpcOptions, cleanup: Cleanup): Case[] {
  const segment = segmentOfEach(() => createSegment(cleanup, SEGMENT));
  return KERNEL_CASES.flatMap(([name, mode], index) =>
    nodeCases({ name, ...howOf(name, options) }, async (pair, crowd) =>
      startPair({ mode, segment: segment(crowd), serverSlot: index * PAIRS_MAX + pair }),
    ),
  );
}

export function ipcCases(options: IpcOptions, cleanup: Cleanup): Case[] {
  const unit = 'round-trips/s';
  const present = NODE_CASES.filter(({ name }) => name !== 'zeromq' || hasZeromq());
  if (present.length < NODE_CASES.length) {
    options.note('zeromq is left out: its package is not installed, or not made for this machine');
  }
  const others = present.flatMap(({ program, config, ...named }) =>
    nodeCases({ ...named, ...howOf(named.name, options) }, async () => Peer.start(program, config)),
  );
  return [
    ...NATIVE_CASES.flatMap((name) => nativeCases({ group: 'ipc', name, unit }, options)),
    ...kernelCases(options, cleanup),
    ...others,
  ];
}

/** Round trips in C and TypeScript, alone and while somebody watches them. */
export function traceCases(asked: IpcOptions, cleanup: Cleanup): Case[] {
  const options = { ...asked, pairs: asked.pairs ?? [1] };
  const name = 'dvk-ts-sendrec';
  const segment = segmentOfEach(() => createWatchedSegment(cleanup, SEGMENT));
  const traced = { name: `${name}-traced`, ...howOf(name, options) };
  return [
    ...ipcCases(options, cleanup).filter((one) => ['dvk-c-sendrec', name].includes(one.name)),
    ...nativeCases(
      { group: 'trace', name: 'dvk-c-sendrec-traced', unit: 'round-trips/s' },
      options,
    ),
    ...nodeCases(traced, async (pair, crowd) =>
      startPair({ mode: 'sync', segment: segment(crowd), serverSlot: 1 + pair }),
    ),
  ];
}

/** Event loops that wake each other by what Linux has, and by calls that need it seldom. */
export function wakeCases(asked: IpcOptions, cleanup: Cleanup): Case[] {
  const options = { ...asked, pairs: asked.pairs ?? [1] };
  const others = ['futex', 'dvk-ts-sendrec-async'];
  return [
    ...LOOP_CASES.flatMap((name) =>
      nativeCases({ group: 'wake', name, unit: 'round-trips/s' }, options),
    ),
    ...ipcCases(options, cleanup).filter(({ name }) => others.includes(name)),
  ];
}

export function notifyCases(asked: IpcOptions, cleanup: Cleanup): Case[] {
  const unit = 'notifications/s';
  const options = { ...asked, pairs: asked.pairs ?? [1] };
  return [
    ...STREAM_CASES.flatMap((name) => nativeCases({ group: 'notify', name, unit }, options)),
    ...ipcCases(options, cleanup).filter(({ name }) => NOTIFY_CASES.includes(name)),
  ];
}

export function sendaCases(options: IpcOptions): Case[] {
  const unit = 'messages/s';
  const pairs = options.pairs ?? [1];
  return ONE_WAY_CASES.flatMap((name) =>
    nativeCases({ group: 'senda', name, unit }, { ...options, pairs }),
  );
}
