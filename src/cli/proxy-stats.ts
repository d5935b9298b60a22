/** `dvk proxy stats`: what the proxies of a DVS counted, once or again and again. */
import { systemClock } from '../dvk/clock.ts';
import type { EngineStatistics, PeerStatistics } from '../proxies/engine.ts';
import type { TrackerStatistics } from '../proxies/trackers.ts';
import type { ContainerTraffic, KindTraffic } from '../proxies/traffic.ts';
import type { DvsStatus, ProxyStatus } from './inspect.ts';
import { exposition } from './metrics.ts';
import { findProxy, inspectSelected, type Selection } from './options.ts';
import { age, CliError, ExitCode, output, type Cell } from './output.ts';
import { showPaths } from './proxy-paths.ts';
import { stateCell } from './status.ts';

export interface StatsSelection extends Selection {
  readonly prometheus?: boolean;
  readonly watch?: boolean;
}

const WATCH_MS = 1000;

/** `12.3 k`, with the unit behind it. */
export function short(value: number, unit = ''): string {
  const steps = ['', 'k', 'M', 'G', 'T', 'P'];
  let [rest, step] = [value, 0];
  for (; rest >= 1000 && step < steps.length - 1; rest /= 1000) step++;
  const digits = step === 0 ? String(rest) : rest.toFixed(rest < 100 ? 1 : 0);
  return `${digits} ${steps[step] ?? ''}${unit}`.trim();
}

function ms(value: number | null | undefined): string {
  return value === null || value === undefined ? '' : `${value.toFixed(2)} ms`;
}

/** What was packed, and what was left of it. */
export function packedCell({
  packedBytesBefore: before,
  packedBytesAfter: after,
}: Pick<PeerStatistics, 'packedBytesBefore' | 'packedBytesAfter'>): string {
  return before === 0 ? '' : `${short(before, 'B')} to ${((100 * after) / before).toFixed(0)} %`;
}

function linkRow(peer: PeerStatistics): Cell[] {
  const { quality, throughput, queue } = peer;
  const lost = quality && `${String(quality.packetsLost)} of ${short(quality.packetsSent)}`;
  return [
    peer.node,
    stateCell(peer.state),
    peer.upForMs === null ? '' : age(Date.now() - peer.upForMs),
    peer.transport,
    short(throughput.sentBytesPerSecond, 'B/s'),
    short(throughput.receivedBytesPerSecond, 'B/s'),
    ms(quality?.rttMs ?? peer.rttMs),
    ms(quality?.rttVariationMs),
    lost ?? '',
    quality === null ? '' : short(quality.windowBytes, 'B'),
    queue === null ? '' : short(queue.bufferedBytes, 'B'),
    packedCell(peer),
    peer.reconnects,
    peer.handshakeFailures,
  ];
}

const LINK_HEADINGS = [
  ...['PEER', 'STATE', 'FOR', 'OVER', 'OUT', 'IN', 'RTT', 'VARIATION', 'LOST', 'WINDOW', 'BUFFER'],
  ...['PACKED', 'RECONNECTS', 'FAILURES'],
];

function kindRows({ sent, received }: ContainerTraffic): (readonly [string, ...Cell[]])[] {
  const none: KindTraffic = { kind: '', commands: 0, dataBytes: 0, errors: 0 };
  const kinds = new Set([...sent, ...received].map(({ kind }) => kind));
  return [...kinds].map((kind) => {
    const out = sent.find((one) => one.kind === kind) ?? none;
    const back = received.find((one) => one.kind === kind) ?? none;
    const data = [short(out.dataBytes, 'B'), short(back.dataBytes, 'B')];
    return [kind, out.commands, back.commands, ...data, out.errors + back.errors];
  });
}

const SEARCH_HEADINGS = [
  ...['DC', 'SEARCHES', 'FOUND', 'ABSENT', 'UNREACHABLE', 'ASKED', 'ANSWERED', 'LATE', 'STALE'],
  'CONFLICTS',
];

function searchRow(tracker: TrackerStatistics, nameOf: (dc: number) => string): Cell[] {
  const { inquiries, found, absent, unreachable } = tracker;
  const { queriesSent, answersSent, answersLate, stale, conflicts } = tracker;
  return [
    ...[nameOf(tracker.dcId), inquiries, found, absent, unreachable, queriesSent, answersSent],
    ...[answersLate, stale, conflicts],
  ];
}

// What is zero is not worth a line.
function dropRows({ peers, refusals, datagrams }: EngineStatistics): Cell[][] {
  const of = (peer: Cell, what: string, counts: Readonly<Record<string, number>>): Cell[][] =>
    Object.entries(counts)
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => [peer, what, reason, count]);
  return [
    ...peers.flatMap(({ node, drops, staleFrames: stale, duplicateFrames: duplicate }) => [
      ...of(node, 'commands', drops as Readonly<Record<string, number>>),
      ...of(node, 'frames', { stale, duplicate }),
    ]),
    ...of('', 'connections', refusals),
    ...of('', 'datagrams', datagrams),
  ];
}

function show({ node, state, stats }: ProxyStatus, nameOf: (dc: number) => string): void {
  if (stats === null || state !== 'up') {
    output.line(`proxy of node ${String(node)}: ${state}`);
    return;
  }
  const sealed = stats.sealed ? 'sealed' : 'plain text';
  const since = age(Date.now() - stats.upForMs);
  const start = `start ${stats.incarnation}`;
  output.line(`proxy of node ${String(node)}: up for ${since}, ${sealed}, ${start}`);
  output.table(LINK_HEADINGS, stats.peers.map(linkRow));
  showPaths(stats);
  const rows = stats.peers.flatMap((peer) =>
    peer.traffic.flatMap((traffic): Cell[][] => {
      const { dcId, queued, queueLimit } = traffic;
      const waiting = `${String(queued)} of ${String(queueLimit)}`;
      const kinds = kindRows(traffic);
      const head = [peer.node, nameOf(dcId)];
      if (kinds.length === 0) return [[...head, waiting, 'none']];
      return kinds.map((row) => [...head, waiting, ...row]);
    }),
  );
  if (rows.length > 0) {
    output.line();
    const headings = ['PEER', 'DC', 'WAITING', 'COMMAND', 'OUT', 'IN', 'DATA OUT', 'DATA IN'];
    output.table([...headings, 'ERRORS'], rows);
  }
  const searches = stats.trackers.filter(
    ({ inquiries, queriesReceived }) => inquiries + queriesReceived > 0,
  );
  if (searches.length > 0) {
    output.line();
    output.table(
      SEARCH_HEADINGS,
      searches.map((tracker) => searchRow(tracker, nameOf)),
    );
  }
  const drops = dropRows(stats);
  if (drops.length === 0) return;
  output.line();
  output.table(['PEER', 'DROPPED', 'WHY', 'COUNT'], drops);
}

function tell(
  { dvs, containers }: DvsStatus,
  proxies: readonly ProxyStatus[],
  selection: StatsSelection,
): void {
  if (selection.prometheus === true) {
    output.line(exposition(dvs, proxies, containers).trimEnd());
  } else if (selection.json === true) {
    output.json({ items: proxies.map(({ node, state, stats }) => ({ node, state, stats })) });
  } else {
    const names = new Map(containers.map(({ id, name }) => [id, name]));
    proxies.forEach((proxy, index) => {
      if (index > 0) output.line();
      show(proxy, (dc) => names.get(dc) ?? String(dc));
    });
  }
}

export async function stats(wanted: string | undefined, selection: StatsSelection): Promise<void> {
  if (selection.prometheus === true && selection.json === true) {
    throw new CliError('--prometheus and --json are two forms', 'Give one.', ExitCode.USAGE);
  }
  for (;;) {
    const status = await inspectSelected(selection);
    tell(status, wanted === undefined ? status.proxies : [findProxy(status, wanted)], selection);
    if (selection.watch !== true) return;
    if (selection.json !== true) output.line();
    await new Promise<void>((resolve) => {
      systemClock.after(WATCH_MS, resolve);
    });
  }
}
