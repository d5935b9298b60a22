/** `dvk proc`: the processes of a DVS's containers. */
import type { Command } from 'commander';

import { formatEndpoint } from '../dvk/endpoint.ts';
import { inspectProcesses, type ProcessStatus } from './inspect.ts';
import { findOne, select, withSelection, type Selection } from './options.ts';
import { output } from './output.ts';

interface ListOptions extends Selection {
  readonly dc?: string;
  readonly node?: string;
  readonly all?: boolean;
}

export function register(program: Command): void {
  const proc = program.command('proc').description('processes: ls, info');
  withSelection(proc.command('ls'))
    .option('--dc <name>', 'only this container')
    .option('--node <id>', 'only what this node knows')
    .option('--all', 'also the descriptors of processes of other nodes')
    .description('list the processes')
    .action(list);
  withSelection(proc.command('info').argument('<process>', 'name, slot or endpoint'))
    .description('one process, as each node knows it')
    .action(info);
}

function describe(process: ProcessStatus): Record<string, unknown> {
  const { endpoint, peer, ...rest } = process;
  return {
    endpoint,
    address: formatEndpoint(endpoint),
    ...rest,
    peer: formatEndpoint(peer),
  };
}

async function list(options: ListOptions): Promise<void> {
  const processes = (await inspectProcesses(select(options))).filter(
    ({ container, seenBy, node, backup }) =>
      (options.dc === undefined || container === options.dc) &&
      (options.node === undefined || String(seenBy) === options.node) &&
      (options.all === true || seenBy === node || backup),
  );
  if (options.json === true) {
    output.json({ items: processes.map(describe) });
    return;
  }
  output.table(
    ['ENDPOINT', 'NAME', 'DC', 'NODE', 'PID', 'LEVEL', 'STATE', 'SENT', 'RECEIVED', 'COPIED'],
    processes.map((process) => [
      formatEndpoint(process.endpoint),
      process.name,
      process.container,
      process.seenBy === process.node
        ? String(process.node)
        : `${String(process.node)} (seen by ${String(process.seenBy)})`,
      process.pid === 0 ? '' : process.pid,
      process.level,
      process.state,
      process.sent + process.sentRemote,
      process.received,
      process.copiedBytes,
    ]),
  );
}

async function info(wanted: string, selection: Selection): Promise<void> {
  const processes = await inspectProcesses(select(selection));
  const matches = (process: ProcessStatus): boolean =>
    process.name === wanted ||
    String(process.slot) === wanted ||
    String(process.endpoint) === wanted ||
    formatEndpoint(process.endpoint) === wanted;
  const names = [...new Set(processes.map(({ name }) => name))];
  findOne(processes, matches, { what: `process ${wanted}`, names });
  const items = processes.filter(matches).map(describe);
  if (selection.json === true) {
    output.json({ items });
    return;
  }
  for (const item of items) {
    for (const [key, value] of Object.entries(item))
      output.line(`${key.padEnd(12)} ${String(value)}`);
    output.line();
  }
}
