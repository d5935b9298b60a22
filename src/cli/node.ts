/** `dvk node`: the nodes of a DVS. */
import type { Command } from 'commander';

import { Cluster, startDaemon } from './cluster.ts';
import { cleanNode } from './leftovers.ts';
import { change, findNode, findOne, inspectSelected, wholeNumber } from './options.ts';
import { withDvs, withSelection, type Selection } from './options.ts';
import { CliError, output } from './output.ts';
import { findRuntime } from './runtime.ts';
import { inRanks, servicesOf } from './start-order.ts';
import { sinceCell, stateCell } from './status.ts';
import { startProxies } from './up.ts';

export function register(program: Command): void {
  const node = program.command('node').description('nodes: ls, info, start, stop');
  withSelection(node.command('ls')).description('list the nodes').action(list);
  withSelection(node.command('info').argument('<node>', 'number or name'))
    .description('one node, with its containers, links and services')
    .action(info);
  withDvs(node.command('start').argument('<node>', 'number or name'))
    .description('start a node that is down: daemon, proxy and services')
    .action(start);
  withDvs(node.command('stop').argument('<node>', 'number or name'))
    .description('stop a node: its services, its proxy and its daemon')
    .action(stop);
  withDvs(node.command('run', { hidden: true }).argument('<node>', 'number', wholeNumber))
    .description('be the daemon of a node')
    .action(run);
}

async function list(selection: Selection): Promise<void> {
  const { nodes, proxies, services } = await inspectSelected(selection);
  const items = nodes.map((node) => {
    const proxy = proxies.find((one) => one.node === node.id);
    const mine = services.filter((service) => service.node === node.id);
    return {
      ...node,
      address: proxy?.address ?? null,
      services: mine.map(({ spec }) => spec.name),
    };
  });
  if (selection.json === true) {
    output.json({ items });
    return;
  }
  output.table(
    ['NODE', 'NAME', 'STATE', 'SINCE', 'PID', 'ADDRESS', 'SERVICES'],
    items.map((item) => [
      item.id,
      item.name,
      stateCell(item.state),
      sinceCell(item.since),
      item.pid ?? '',
      item.address ?? '',
      item.services.join(', '),
    ]),
  );
}

async function info(wanted: string, selection: Selection): Promise<void> {
  const status = await inspectSelected(selection);
  const node = findOne(status.nodes, ({ id, name }) => String(id) === wanted || name === wanted, {
    what: `node ${wanted}`,
    names: status.nodes.map(({ id }) => id),
  });
  const result = {
    ...node,
    directory: `${status.directory}/node${String(node.id)}`,
    proxy: status.proxies.find((proxy) => proxy.node === node.id) ?? null,
    links: status.links.filter(({ nodes }) => nodes.includes(node.id)),
    containers: status.containers.flatMap(({ nodes }) =>
      nodes.flatMap(({ node: id, report }) => (id === node.id && report !== null ? [report] : [])),
    ),
    services: status.services.filter((service) => service.node === node.id),
  };
  if (selection.json === true) {
    output.json(result);
    return;
  }
  output.line(`node ${String(node.id)} (${node.name}): ${node.state}`);
  output.line(`directory  ${result.directory}`);
  output.line(`pid        ${String(node.pid ?? '-')}`);
  output.line(`proxy      ${result.proxy?.state ?? 'down'} ${result.proxy?.address ?? ''}`);
  for (const link of result.links) {
    output.line(
      `link       ${link.nodes.join(' - ')} ${link.state} ${link.reason ?? ''}`.trimEnd(),
    );
  }
  for (const container of result.containers) {
    const { name, localProcesses, remoteProcesses, processSlots } = container;
    const counts = `${String(localProcesses)} here, ${String(remoteProcesses)} elsewhere`;
    output.line(`container  ${name}: ${counts}, ${String(processSlots)} slots`);
  }
  for (const { spec, state } of result.services) output.line(`service    ${spec.name} ${state}`);
}

async function start(wanted: string, selection: Selection): Promise<void> {
  await change(selection, async ({ paths, state, cluster }) => {
    const node = findNode(state, wanted);
    if (cluster.has(node)) {
      output.note(`node ${String(node)} is up already`);
      return;
    }
    await cleanNode(paths, node);
    await output.step(`node ${String(node)}`, async () => {
      await startDaemon(paths, node);
      return undefined;
    });
    const joined = await Cluster.connect(paths, state);
    try {
      await startProxies(joined, [node]);
      const mine = servicesOf(state.spec).filter((service) => service.node === node);
      for (const service of inRanks(mine).flat()) {
        await output.step(`service ${service.name}`, async () => {
          await joined.startService(service);
          return undefined;
        });
      }
    } finally {
      joined.close();
    }
  });
}

async function stop(wanted: string, selection: Selection): Promise<void> {
  await change(selection, async ({ paths, state, cluster }) => {
    const node = findNode(state, wanted);
    await output.step(`node ${String(node)} stopped`, async () => {
      await cluster.stopNodes([node]);
      const { processes } = await cleanNode(paths, node);
      return processes > 1 ? `${String(processes)} processes ended` : undefined;
    });
  });
}

async function run(node: number, { runtime, name }: Selection): Promise<void> {
  if (name === undefined) throw new CliError('--name is missing', 'Say which DVS: --name DVS.');
  const { runDaemon } = await import('./node-daemon.ts');
  await runDaemon(findRuntime(runtime).directory, name, node);
}
