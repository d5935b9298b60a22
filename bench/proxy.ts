/**
 * `dvk bench proxy`: calls and copies between two nodes of this machine over loopback, through
 * their proxies, beside what bare sockets do with as many bytes.
 *
 * A node is on the CPUs of one side of the placement: client and proxy of node 0 on one, server and
 * proxy of node 1 on the other. `sendrec` is a round trip of a 64-byte message, by one caller that
 * blocks or by 64 at once that are awaited, to one server; `vcopy` moves blocks from private memory
 * of the client to private memory of the server. The streams of bare sockets go one way, and nobody
 * waits for an answer.
 */
import { DEFAULT_ETHER_TYPE } from '../src/dvk/ethernet.ts';
import { PacketSocket } from '../src/dvk/packet-socket.ts';
import type { Cleanup } from './cleanup.ts';
import { shared, type Case, type Session } from './harness.ts';
import { cpuTimesNs, startNative } from './native-case.ts';
import { Peer } from './peer-case.ts';
import type { NetConfig } from './peers/net.ts';
import type { RemoteRequest } from './peers/remote.ts';
import { cpusOfPairs, type Placement } from './placement.ts';
import { LinkedNodes, LOOPBACK, type LinkKind } from './proxy/nodes.ts';

/** Another transport is another line here. */
const LINKS: Readonly<Record<string, LinkKind>> = {
  'dvk-tcp': { transport: 'tcp', sealed: true },
  'dvk-tcp-plain': { transport: 'tcp', sealed: false },
  'dvk-udp': { transport: 'udp', sealed: true },
  'dvk-udp-plain': { transport: 'udp', sealed: false },
  'dvk-ethernet': { transport: 'ethernet', sealed: true },
  'dvk-ethernet-plain': { transport: 'ethernet', sealed: false },
};
const CALLERS = [1, 64];
const MIB = 2 ** 20;
const COPY_SIZES = [MIB / 16, MIB, 64 * MIB];
const COPY_SIZES_SMOKE = [MIB];

export interface ProxyOptions {
  readonly smoke: boolean;
  readonly placements: readonly Placement[];
  /** Told of a link that was lost. */
  readonly note: (what: string) => void;
}

type Work = Pick<RemoteRequest, 'op' | 'callers' | 'bytes'>;

/** A Node program that is measured, and what is counted in its CPU time. */
interface Subject {
  readonly peer: Peer;
  readonly pids: readonly number[];
  readonly placement: Placement;
  /** What it is asked beside the time. */
  readonly work: object;
  readonly close: () => Promise<void>;
}

function sessionOf({ peer, pids, placement, work, close }: Subject): Session {
  const cpus = cpusOfPairs(placement, 1)[0]!;
  const spentNs = async (): Promise<number> =>
    (await cpuTimesNs(pids)).reduce((total, ns) => total + ns, 0);
  return {
    run: async (ms) => {
      const before = await spentNs();
      const result = await peer.run({ ms, cpus, ...work });
      return { ...result, cpu: { ns: (await spentNs()) - before, trips: result.checked } };
    },
    close,
  };
}

function linkCases(
  name: string,
  placement: Placement,
  sizes: readonly number[],
  host: { cleanup: Cleanup; note: ProxyOptions['note'] },
): Case[] {
  const kind = LINKS[name]!;
  const nodes = shared(async () => LinkedNodes.start(kind, placement, host));
  const start = (work: Work) => async (): Promise<Session> => {
    const { client, pids } = await nodes.use();
    const close = async (): Promise<void> => nodes.release();
    return sessionOf({ peer: client, pids, placement, work, close });
  };
  return [
    ...CALLERS.map((callers): Case => ({
      ...{ name, placement, op: 'sendrec', pairs: callers, unit: 'round-trips/s' },
      start: start({ op: 'sendrec', callers, bytes: 0 }),
    })),
    ...sizes.map((bytes): Case => ({
      ...{ name, placement, op: 'vcopy', bytes, unit: 'bytes/s' },
      start: start({ op: 'vcopy', callers: 1, bytes }),
    })),
  ];
}

/** Of Node programs that use bare sockets. */
function netCase(
  named: Pick<Case, 'name' | 'op' | 'unit' | 'pairs' | 'bytes' | 'variant'>,
  config: Omit<NetConfig, 'role'>,
  placements: readonly Placement[],
): Case[] {
  const own: NetConfig = { ...config, role: 'client' };
  const peer = shared(async () => Peer.start('net', own));
  return placements.map((placement) => ({
    ...named,
    placement,
    start: async () => {
      const used = await peer.use();
      const close = async (): Promise<void> => peer.release();
      return sessionOf({ peer: used, pids: used.pids, placement, work: {}, close });
    },
  }));
}

function bareCases(placements: readonly Placement[], sizes: readonly number[]): Case[] {
  const sendrec = { op: 'sendrec', pairs: 1, unit: 'round-trips/s' } as const;
  const vcopy = { op: 'vcopy', unit: 'bytes/s' } as const;
  const cpusOf = (placement: Placement) => cpusOfPairs(placement, 1);
  return [
    ...netCase({ ...sendrec, name: 'node-tcp' }, { kind: 'tcp' }, placements),
    ...netCase({ ...sendrec, name: 'node-udp' }, { kind: 'udp' }, placements),
    ...placements.flatMap((placement) =>
      ['tcp', 'udp'].map((name): Case => ({
        ...{ ...sendrec, name, placement },
        start: async () => startNative({ group: 'ipc', name, cpus: cpusOf(placement) }),
      })),
    ),
    ...sizes.flatMap((bytes) => [
      ...[false, true].flatMap((big) =>
        netCase(
          { ...vcopy, name: 'node-tcp', bytes, variant: big ? 'big' : 'default' },
          { kind: 'stream', bytes, big },
          placements,
        ),
      ),
      ...placements.flatMap((placement) =>
        ['default', 'big'].map((variant): Case => {
          const named = { name: 'tcp', bytes, variant };
          return {
            ...{ ...vcopy, ...named, placement },
            start: async () => startNative({ group: 'vcopy', cpus: cpusOf(placement), ...named }),
          };
        }),
      ),
    ]),
  ];
}

/** Those that work here. */
function linkNames(note: ProxyOptions['note']): string[] {
  const names = Object.keys(LINKS);
  try {
    const place = { interface: LOOPBACK, etherType: DEFAULT_ETHER_TYPE, port: 0 };
    new PacketSocket({ ...place, bufferBytes: 0, payloadBytesMax: 0 }).close();
    return names;
  } catch (error) {
    note(`links over Ethernet are left out: ${String(error)}`);
    return names.filter((name) => LINKS[name]?.transport !== 'ethernet');
  }
}

/** Cases in the order of what is compared: calls first, then copies by their size. */
export function proxyCases({ smoke, placements, note }: ProxyOptions, cleanup: Cleanup): Case[] {
  const sizes = smoke ? COPY_SIZES_SMOKE : COPY_SIZES;
  const cases = [
    ...placements.flatMap((placement) =>
      linkNames(note).flatMap((name) => linkCases(name, placement, sizes, { cleanup, note })),
    ),
    ...bareCases(placements, sizes),
  ];
  const rank = ({ bytes = 0, pairs = 0 }: Case): number => bytes + pairs;
  return cases.sort((one, other) => rank(one) - rank(other));
}
