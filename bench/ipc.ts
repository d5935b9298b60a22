/**
 * `dvk bench ipc`: round trips of a 64-byte message between two processes, through the kernel's
 * calls and through what else the host and Node.js offer.
 *
 * Every message carries a counter that must come back changed. pure-spin, two processes that watch
 * a shared word, is the limit of the machine; on one core it shows what spinning costs there.
 */
import { join } from 'node:path';

import { dcId, nodeId, Segment } from '../src/dvk/index.ts';
import type { Cleanup } from './cleanup.ts';
import { shared, type Case, type Session } from './harness.ts';
import { startNative } from './native-case.ts';
import { Peer, type PeerProgram } from './peer-case.ts';
import type { KernelConfig, KernelMode } from './peers/kernel.ts';
import { allowedCpus, cpusOf, type Cpus, type Placement } from './placement.ts';
import { scratchDirectory } from './scratch.ts';

const NATIVE_CASES = [
  'dvk-c-sendrec',
  'dvk-c-notify',
  'pipe',
  'fifo',
  'unix-stream',
  'unix-seqpacket',
  'tcp',
  'posix-mq',
  'eventfd',
  'pure-spin',
] as const;
const KERNEL_CASES: readonly [name: string, mode: KernelMode][] = [
  ['dvk-ts-sendrec', 'sync'],
  ['dvk-ts-sendrec-async', 'await'],
  ['dvk-ts-notify', 'notify'],
];
const NODE_CASES: readonly NodeCase[] = [
  { name: 'message-port', variant: 'bytes', program: 'ports', config: { shape: 'bytes' } },
  { name: 'message-port', variant: 'object', program: 'ports', config: { shape: 'object' } },
  { name: 'atomics-wait', program: 'atomics', config: {} },
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
];

interface NodeCase {
  readonly name: string;
  readonly variant?: string;
  readonly program: PeerProgram;
  readonly config: object;
}

const UNIT = 'round-trips/s';
const SEGMENT_ROOM = 64 * 2 ** 20;
// The least that a segment can have; the arena is not used.
const PROCESSES = 128;
const ARENA_BYTES = 4096;

/** Makes the segment that all kernel cases of Node programs share; returns its path. */
function createSegment(cleanup: Cleanup): string {
  const path = join(scratchDirectory(cleanup, SEGMENT_ROOM), 'segment');
  const identity = { dcId: dcId(0), nodeId: nodeId(0), dcName: 'bench', dvsName: 'bench' };
  Segment.create(path, { ...identity, processes: PROCESSES, nodes: 1, arenaBytes: ARENA_BYTES });
  return path;
}

type Runnable = Pick<Peer, 'run' | 'close'>;

/** A client and a server that blocks in its calls; the client tells the server when to end. */
async function startPair(config: Omit<KernelConfig, 'role'>): Promise<Runnable> {
  const server = await Peer.start('kernel', { ...config, role: 'server' });
  const client = await Peer.start('kernel', { ...config, role: 'client' });
  return {
    run: async (request) => client.run(request),
    close: async () => {
      await client.close();
      await server.close();
    },
  };
}

/**
 * The cases of one set of Node programs in every placement: the programs move, so they are started
 * once.
 */
function nodeCases(
  place: { name: string; variant?: string; placements: readonly Placement[] },
  start: () => Promise<Runnable>,
): Case[] {
  const pair = shared(start);
  const { placements, ...named } = place;
  return placements.map((placement) => ({
    ...named,
    placement,
    unit: UNIT,
    start: async (): Promise<Session> => {
      const peer = await pair.use();
      const cpus = cpusFor(placement);
      return { run: async (ms) => peer.run({ ms, cpus }), close: async () => pair.release() };
    },
  }));
}

function cpusFor(placement: Placement): Cpus {
  const cpus = cpusOf(placement, allowedCpus());
  if (cpus === undefined) throw new Error(`this machine has too few cores for ${placement}`);
  return cpus;
}

export function ipcCases(placements: readonly Placement[], cleanup: Cleanup): Case[] {
  let path: string | undefined;
  const segment = (): string => (path ??= createSegment(cleanup));
  const native = NATIVE_CASES.flatMap((name) =>
    placements.map((placement): Case => ({
      name,
      placement,
      unit: UNIT,
      start: async () => startNative({ group: 'ipc', name, cpus: cpusFor(placement) }),
    })),
  );
  const kernel = KERNEL_CASES.flatMap(([name, mode], index) => {
    const slots = { clientSlot: 2 * index + 1, serverSlot: 2 * index + 2 };
    return nodeCases({ name, placements }, async () =>
      startPair({ mode, segment: segment(), ...slots }),
    );
  });
  const others = NODE_CASES.flatMap(({ program, config, ...named }) =>
    nodeCases({ ...named, placements }, async () => Peer.start(program, config)),
  );
  return [...native, ...kernel, ...others];
}
