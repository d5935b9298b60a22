/** `dvk proxy`: the proxies of a DVS's nodes, and their links. */
import type { Command } from 'commander';

import type { PeerStatistics } from '../proxies/engine.ts';
import type { ProxyStatus, SecurityStatus } from './inspect.ts';
import { change, findNode, findOne, inspectSelected } from './options.ts';
import { withDvs, withSelection, type Selection } from './options.ts';
import { output } from './output.ts';
import { INSECURE_WARNING } from './security.ts';
import { sinceCell, stateCell } from './status.ts';
import { startProxies } from './up.ts';

export function register(program: Command): void {
  const proxy = program.command('proxy').description('proxies: ls, info, start, stop');
  withSelection(proxy.command('ls')).description('list the proxies').action(list);
  withSelection(proxy.command('info').argument('<node>', 'number of the node'))
    .description('one proxy, with its links and counters')
    .action(info);
  withDvs(proxy.command('start').argument('<node>', 'number or name of the node'))
    .description('start a proxy that is down')
    .action(start);
  withDvs(proxy.command('stop').argument('<node>', 'number or name of the node'))
    .description('stop a proxy; calls to other nodes then end with ENOTCONN')
    .action(stop);
}

async function list(selection: Selection): Promise<void> {
  const { proxies } = await inspectSelected(selection);
  if (selection.json === true) {
    output.json({ items: proxies });
    return;
  }
  output.table(
    ['NODE', 'STATE', 'SINCE', 'PID', 'ADDRESS', 'LINKS UP'],
    proxies.map(({ node, state, since, pid, address, links }) => [
      node,
      stateCell(state),
      sinceCell(since),
      pid ?? '',
      address ?? '',
      links
        .filter((link) => link.state === 'up')
        .map(({ peer }) => peer)
        .join(', '),
    ]),
  );
}

async function info(wanted: string, selection: Selection): Promise<void> {
  const { proxies, nodes, security } = await inspectSelected(selection);
  const node = nodes.find(({ id, name }) => String(id) === wanted || name === wanted);
  const proxy = findOne(proxies, (one) => one.node === node?.id, {
    what: `proxy of node ${wanted}`,
    names: proxies.map((one) => one.node),
  });
  if (selection.json === true) {
    output.json(proxy);
    return;
  }
  output.line(
    `proxy of node ${String(proxy.node)}: ${proxy.state}, pid ${String(proxy.pid ?? '-')}`,
  );
  if (proxy.reason !== null) output.line(`reason   ${proxy.reason}`);
  output.line(`address  ${proxy.address ?? '-'}`);
  showSecurity(security, proxy);
  output.line();
  output.table(
    ['PEER', 'STATE', 'SINCE', 'OVER', 'RTT', 'LOST', 'DATAGRAM', 'CERTIFICATE', 'REASON'],
    proxy.links.map(({ peer, state, since, reason }) => {
      const told = proxy.stats?.peers.find(({ node: other }) => other === peer);
      return [
        peer,
        stateCell(state),
        sinceCell(since),
        told?.transport ?? '',
        ...qualityCells(told),
        told?.certificate?.serial ?? '',
        reason ?? '',
      ];
    }),
  );
  const datagrams = Object.entries(proxy.stats?.datagrams ?? {}).filter(([, count]) => count > 0);
  if (datagrams.length === 0) return;
  output.line();
  output.line('datagrams of no connection');
  output.table(
    ['WHY', 'COUNT'],
    datagrams.map(([why, count]) => [why, count]),
  );
}

// Round trip, share of lost packets, longest datagram; the last two are known of datagrams only.
function qualityCells(told: PeerStatistics | undefined): string[] {
  const quality = told?.quality ?? null;
  const rttMs = quality?.rttMs ?? told?.rttMs ?? null;
  const rtt = rttMs === null ? '' : `${rttMs.toFixed(2)} ms`;
  if (quality === null) return [rtt, '', ''];
  const lost = (100 * quality.packetsLost) / Math.max(1, quality.packetsSent);
  return [rtt, `${lost.toFixed(1)} %`, `${String(quality.datagramBytes)} B`];
}

function showSecurity({ mode, certificates }: SecurityStatus, { node, stats }: ProxyStatus): void {
  const own = certificates.find((one) => one.node === node);
  if (mode === 'insecure') output.line(`links    ${INSECURE_WARNING}`);
  if (own !== undefined) {
    const until = new Date(own.until).toISOString();
    output.line(`links    sealed; own certificate ${own.serial}, ${own.state}, until ${until}`);
  }
  if (stats === null || stats.refused === 0) return;
  const { refused, lastRefused } = stats;
  const last =
    lastRefused === null ? '' : `, the last one: ${lastRefused.code}: ${lastRefused.detail}`;
  output.line(`refused  ${String(refused)} connections${last}`);
}

async function start(wanted: string, selection: Selection): Promise<void> {
  await change(selection, async ({ state, cluster }) => {
    const node = findNode(state, wanted);
    if (cluster.reports.get(node)?.proxy.state === 'up') {
      output.note(`the proxy of node ${String(node)} is up already`);
      return;
    }
    await startProxies(cluster, [node]);
  });
}

async function stop(wanted: string, selection: Selection): Promise<void> {
  await change(selection, async ({ state, cluster }) => {
    const node = findNode(state, wanted);
    await output.step(`proxy of node ${String(node)} stopped`, async () => {
      await cluster.call(node, 'stopProxy');
      return undefined;
    });
  });
}
