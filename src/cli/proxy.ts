/** `dvk proxy`: the proxies of a DVS's nodes, and their links. */
import type { Command } from 'commander';

import type { PeerCertificate } from '../proxies/identity.ts';
import { SETTING_RULES, type SettingChange, type SettingName } from '../proxies/settings.ts';
import type { ProxyStatus, SecurityStatus } from './inspect.ts';
import { change, findNode, findProxy, inspectSelected } from './options.ts';
import { withDvs, withSelection, type Selection } from './options.ts';
import { CliError, ExitCode, output } from './output.ts';
import { linksCell, parsePaths, qualityCells, showPaths } from './proxy-paths.ts';
import type { PathOptions } from './proxy-paths.ts';
import { packedCell, stats } from './proxy-stats.ts';
import { INSECURE_WARNING } from './security.ts';
import { sinceCell, stateCell } from './status.ts';
import { startProxies } from './up.ts';

export function register(program: Command): void {
  const proxy = program.command('proxy').description('proxies: ls, info, stats, set, start, stop');
  withSelection(proxy.command('ls')).description('list the proxies').action(list);
  withSelection(proxy.command('info').argument('<node>', 'number of the node'))
    .description('one proxy, with its links and counters')
    .action(info);
  withSelection(proxy.command('stats').argument('[node]', 'number or name of the node'))
    .description('what the proxies counted, for each peer and container')
    .option('--prometheus', 'as Prometheus reads it')
    .option('--watch', 'again every second, until Ctrl-C')
    .action(stats);
  withSelection(
    proxy
      .command('set')
      .argument('<node>', 'number or name of the node')
      .argument('[name=value...]', 'settings; without any, those that there are')
      .option('--peer <node>', 'number of the node at the other end of paths')
      .option('--prefer <path>', 'the path that is to carry before all others, or none')
      .option('--forbid <path...>', 'paths that are not to be used')
      .option('--allow <path...>', 'paths that may be used again'),
  )
    .description('change a proxy while it runs, until it ends')
    .action(set);
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
    ['NODE', 'STATE', 'SINCE', 'PID', 'ADDRESS', 'OVER', 'SEALED', 'LINKS UP'],
    proxies.map(({ node, state, since, pid, address, links, stats: told }) => [
      node,
      stateCell(state),
      sinceCell(since),
      pid ?? '',
      address ?? '',
      [...new Set(told?.peers.map(({ transport }) => transport))].join(', '),
      told === null ? '' : told.sealed ? 'yes' : 'no',
      linksCell(
        links.filter((link) => link.state === 'up').map(({ peer }) => peer),
        told,
      ),
    ]),
  );
}

const INFO_HEADINGS = [
  ...['PEER', 'STATE', 'SINCE', 'OVER', 'RTT', 'LOST', 'DATAGRAM', 'PACKED', 'CERTIFICATE'],
  ...['START', 'REASON'],
];

async function info(wanted: string, selection: Selection): Promise<void> {
  const status = await inspectSelected(selection);
  const { security } = status;
  const proxy = findProxy(status, wanted);
  if (selection.json === true) {
    output.json(proxy);
    return;
  }
  output.line(
    `proxy of node ${String(proxy.node)}: ${proxy.state}, pid ${String(proxy.pid ?? '-')}`,
  );
  if (proxy.reason !== null) output.line(`reason   ${proxy.reason}`);
  output.line(`address  ${proxy.address ?? '-'}`);
  if (proxy.stats !== null) output.line(`start    ${proxy.stats.incarnation}`);
  showSecurity(security, proxy);
  output.line();
  output.table(
    INFO_HEADINGS,
    proxy.links.map(({ peer, state, since, reason }) => {
      const told = proxy.stats?.peers.find(({ node: other }) => other === peer);
      return [
        peer,
        stateCell(state),
        sinceCell(since),
        told?.transport ?? '',
        ...qualityCells(told),
        told === undefined ? '' : packedCell(told),
        certificateCell(told?.certificate),
        told?.incarnation ?? '',
        reason ?? '',
      ];
    }),
  );
  showPaths(proxy.stats);
  const datagrams = Object.entries(proxy.stats?.datagrams ?? {}).filter(([, count]) => count > 0);
  if (datagrams.length === 0) return;
  output.line();
  output.line('datagrams of no connection');
  output.table(
    ['WHY', 'COUNT'],
    datagrams.map(([why, count]) => [why, count]),
  );
}

function certificateCell(certificate: PeerCertificate | null | undefined): string {
  return certificate ? `${certificate.name} ${certificate.serial}` : '';
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

async function set(
  wanted: string,
  assignments: readonly string[],
  selection: Selection & PathOptions,
): Promise<void> {
  const paths = parsePaths(selection);
  if (assignments.length === 0 && paths === undefined) {
    showSettings(findProxy(await inspectSelected(selection), wanted), selection);
    return;
  }
  const settings = Object.fromEntries(assignments.map(parseAssignment));
  await change(selection, async ({ state, cluster }) => {
    const node = findNode(state, wanted);
    if (paths !== undefined) await cluster.call(node, 'setPaths', paths);
    if (assignments.length === 0) {
      if (selection.json === true) output.json({ items: [] });
      return;
    }
    const changes = (await cluster.call(node, 'setProxy', settings)) as SettingChange[];
    if (selection.json === true) {
      output.json({ items: changes });
      return;
    }
    for (const { name, before, after } of changes) {
      const rule = SETTING_RULES[name];
      const unit = 'unit' in rule ? ` ${rule.unit}` : '';
      output.line(`${name}: ${String(before)}${unit} before, ${String(after)}${unit} now`);
    }
  });
}

function parseAssignment(text: string): [string, number | string] {
  const [, name, value] = /^(\w+)=(\d{1,9}|[a-z]{1,20})$/.exec(text) ?? [];
  if (name !== undefined && value !== undefined) {
    return [name, /^\d/.test(value) ? Number(value) : value];
  }
  const what = `${text} is no setting`;
  throw new CliError(what, 'Give name=value with a whole number or a word.', ExitCode.USAGE);
}

function showSettings({ stats: told }: ProxyStatus, { json }: Selection): void {
  const names = told === null ? [] : (Object.keys(told.settings) as SettingName[]);
  const items = names.map((name) => {
    return { name, value: told?.settings[name] ?? 0, ...SETTING_RULES[name] };
  });
  if (json === true) {
    output.json({ items });
    return;
  }
  output.table(
    ['NAME', 'VALUE', 'UNIT', 'FROM', 'TO', 'MEANING'],
    items.map((item) => [
      ...[item.name, item.value],
      ...('unit' in item ? [item.unit, item.min, item.max] : ['', item.choices.join(', '), '']),
      item.meaning,
    ]),
  );
}
