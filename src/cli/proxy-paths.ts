/** The paths of links, as `dvk proxy` shows and changes them. */
import type { PathChange } from '../proxies/bond.ts';
import type { EngineStatistics, PeerStatistics } from '../proxies/engine.ts';
import type { PathStatistics } from '../proxies/path.ts';
import { age, CliError, ExitCode, output, type Cell } from './output.ts';
import { stateCell } from './status.ts';

/** What `dvk proxy set` may say of paths. */
export interface PathOptions {
  readonly peer?: string;
  readonly prefer?: string;
  readonly forbid?: readonly string[];
  readonly allow?: readonly string[];
}

// The word for no path in particular.
const NONE = 'none';

/** The peers of up links; with the paths of those that have several, the one that carries first. */
export function linksCell(up: readonly number[], stats: EngineStatistics | null): string {
  const texts = up.map((node) => {
    const paths = stats?.peers.find((peer) => peer.node === node)?.paths ?? [];
    if (paths.length < 2) return String(node);
    const inUse = paths.filter(({ state }) => state === 'up');
    const sorted = inUse.sort((a, b) => Number(b.carries) - Number(a.carries));
    return `${String(node)} (${sorted.map(({ path }) => path).join(' + ')})`;
  });
  return texts.join(', ');
}

/** Round trip, share of lost packets, longest datagram or segment. */
export function qualityCells(
  told: Pick<PathStatistics, 'quality' | 'rttMs'> | undefined,
): [string, string, string] {
  const quality = told?.quality ?? null;
  const rttMs = quality?.rttMs ?? told?.rttMs ?? null;
  const rtt = rttMs === null ? '' : `${rttMs.toFixed(2)} ms`;
  if (quality === null) return [rtt, '', ''];
  const lost = (100 * quality.packetsLost) / Math.max(1, quality.packetsSent);
  return [rtt, `${lost.toFixed(1)} %`, `${String(quality.datagramBytes)} B`];
}

function carriesCell({ carries, preferred }: PathStatistics): string {
  return [carries ? 'carries' : '', preferred ? 'preferred' : ''].filter(Boolean).join(', ');
}

function pathRow({ node }: PeerStatistics, path: PathStatistics): Cell[] {
  const { upForMs, lastDown } = path;
  return [
    node,
    path.path,
    path.state === 'forbidden' ? [path.state, 'yellow'] : stateCell(path.state),
    upForMs === null ? '' : age(Date.now() - upForMs),
    carriesCell(path),
    path.transport,
    path.remote ?? '',
    ...qualityCells(path),
    `${String(path.steadyMs / 1000)} s`,
    path.connects,
    path.moves,
    path.handshakeFailures,
    lastDown === null ? '' : `${lastDown.code}: ${lastDown.detail}`,
  ];
}

const HEADINGS = [
  ...['PEER', 'PATH', 'STATE', 'FOR', 'USE', 'OVER', 'REMOTE', 'RTT', 'LOST', 'DATAGRAM'],
  ...['STEADY', 'CONNECTS', 'MOVES', 'FAILURES', 'LAST DOWN'],
];

/** A table of the paths of links that have several; nothing where there are none. */
export function showPaths(stats: EngineStatistics | null): void {
  const peers = (stats?.peers ?? []).filter(({ paths }) => paths.length > 1);
  if (peers.length === 0) return;
  output.line();
  output.table(
    HEADINGS,
    peers.flatMap((peer) => peer.paths.map((path) => pathRow(peer, path))),
  );
}

/** What is asked of the paths to which peer, or undefined when nothing is. */
export function parsePaths(options: PathOptions): { peer: number; change: PathChange } | undefined {
  const { peer, prefer, forbid, allow } = options;
  const isAsked = prefer !== undefined || forbid !== undefined || allow !== undefined;
  if (!isAsked && peer === undefined) return undefined;
  if (!isAsked || peer === undefined || !/^\d{1,4}$/.test(peer)) {
    const remedy = 'Give --peer NODE with --prefer, --forbid or --allow PATH.';
    throw new CliError('it is not clear which paths are meant', remedy, ExitCode.USAGE);
  }
  const change: PathChange = {
    ...(prefer !== undefined && { prefer: prefer === NONE ? null : prefer }),
    ...(forbid !== undefined && { forbid }),
    ...(allow !== undefined && { allow }),
  };
  return { peer: Number(peer), change };
}
