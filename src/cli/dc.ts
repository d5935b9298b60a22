/** `dvk dc`: the distributed containers of a DVS. */
import type { Command } from 'commander';

import { formatSize } from '../vos/spec-reader.ts';
import type { ContainerStatus } from './inspect.ts';
import { findOne, inspectSelected, withSelection, type Selection } from './options.ts';
import { output } from './output.ts';

export function register(program: Command): void {
  const dc = program.command('dc').description('distributed containers: ls, info');
  withSelection(dc.command('ls')).description('list the containers').action(list);
  withSelection(dc.command('info').argument('<dc>', 'name or number'))
    .description('one container, node by node')
    .action(info);
}

function describe({ name, id, spec, nodes }: ContainerStatus): Record<string, unknown> {
  return {
    name,
    id,
    processes: spec.processes,
    arenaBytes: spec.arenaBytes,
    services: spec.services.map((service) => service.name),
    boundProcesses: nodes.reduce((sum, { report }) => sum + (report?.localProcesses ?? 0), 0),
    nodes: nodes.map(({ node, report }) => ({
      node,
      state: report?.state ?? 'down',
      ...(report !== null && {
        segment: report.segment,
        localProcesses: report.localProcesses,
        remoteProcesses: report.remoteProcesses,
        arenaUsedBytes: report.arenaUsedBytes,
        links: report.links,
      }),
    })),
  };
}

async function list(selection: Selection): Promise<void> {
  const { containers } = await inspectSelected(selection);
  if (selection.json === true) {
    output.json({ items: containers.map(describe) });
    return;
  }
  output.table(
    ['DC', 'ID', 'NODES', 'SLOTS', 'BOUND', 'ARENA', 'SERVICES'],
    containers.map(({ name, id, spec, nodes }) => [
      name,
      id,
      spec.nodes.join(', '),
      spec.processes,
      nodes.reduce((sum, { report }) => sum + (report?.localProcesses ?? 0), 0),
      formatSize(spec.arenaBytes),
      spec.services.map((service) => service.name).join(', '),
    ]),
  );
}

async function info(wanted: string, selection: Selection): Promise<void> {
  const { containers } = await inspectSelected(selection);
  const container = findOne(
    containers,
    ({ name, id }) => name === wanted || String(id) === wanted,
    { what: `container ${wanted}`, names: containers.map(({ name }) => name) },
  );
  if (selection.json === true) {
    output.json(describe(container));
    return;
  }
  const { spec } = container;
  output.line(`container ${container.name} (${String(container.id)})`);
  output.line(`slots  ${String(spec.processes)}`);
  output.line(`arena  ${formatSize(spec.arenaBytes)}`);
  output.line();
  output.table(
    ['NODE', 'STATE', 'HERE', 'ELSEWHERE', 'ARENA USED', 'SEGMENT'],
    container.nodes.map(({ node, report }) => [
      node,
      report?.state ?? 'down',
      report?.localProcesses ?? '',
      report?.remoteProcesses ?? '',
      report === null ? '' : formatSize(report.arenaUsedBytes),
      report?.segment ?? '',
    ]),
  );
}
