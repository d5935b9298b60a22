/** `dvk dc`: the distributed containers of a DVS. */
import { existsSync } from 'node:fs';

import type { Command } from 'commander';

import { isDvkError, Segment } from '../dvk/index.ts';
import { formatSize } from '../vos/spec-reader.ts';
import { requireState, type ContainerStatus } from './inspect.ts';
import { findOne, inspectSelected, select, withSelection, type Selection } from './options.ts';
import { ExitCode, output, type Cell } from './output.ts';

// A call that runs is through its passing states within this.
const CHECK_PAUSE_MS = 200;

export function register(program: Command): void {
  const dc = program.command('dc').description('distributed containers: ls, info, check');
  withSelection(dc.command('ls')).description('list the containers').action(list);
  withSelection(dc.command('info').argument('<dc>', 'name or number'))
    .description('one container, node by node')
    .action(info);
  withSelection(dc.command('check').argument('<dc>', 'name or number'))
    .description('look for what may not be in its tables, on every node')
    .action(check);
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

interface SegmentReport {
  readonly node: number;
  readonly segment: string;
  readonly state: 'whole' | 'faulty' | 'down';
  readonly faults: readonly string[];
}

// The daemon is not asked: the tables can be looked at when it does not answer, too.
function checkSegment(node: number, path: string): SegmentReport {
  if (!existsSync(path)) return { node, segment: path, state: 'down', faults: [] };
  let faults: string[];
  try {
    const segment = Segment.open(path);
    faults = segment.check(CHECK_PAUSE_MS);
    segment.close();
  } catch (error) {
    if (!isDvkError(error)) throw error;
    faults = [error.message];
  }
  return { node, segment: path, state: faults.length === 0 ? 'whole' : 'faulty', faults };
}

function check(wanted: string, selection: Selection): void {
  const paths = select(selection);
  const { containers } = requireState(paths).spec;
  const { name, nodes } = findOne(
    containers,
    (one) => one.name === wanted || String(one.id) === wanted,
    { what: `container ${wanted}`, names: containers.map((one) => one.name) },
  );
  const items = nodes.map((node) => checkSegment(node, paths.node(node).segment(name)));
  const ok = items.every(({ state }) => state !== 'faulty');
  if (!ok) process.exitCode = ExitCode.FAILURE;
  if (selection.json === true) {
    output.json({ ok, items });
    return;
  }
  const styles = { whole: 'green', faulty: 'red', down: 'yellow' } as const;
  output.table(
    ['NODE', 'TABLES', 'FAULTS', 'SEGMENT'],
    items.map(({ node, state, faults, segment }): Cell[] => [
      node,
      [state, styles[state]],
      faults.length,
      segment,
    ]),
  );
  for (const { node, faults } of items) {
    for (const fault of faults) output.line(`node ${String(node)}: ${fault}`);
  }
}
