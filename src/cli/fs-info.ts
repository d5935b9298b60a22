/** `dvk fs info`: what file system servers have counted. */
import type { Command } from 'commander';

import { FS_COUNTERS, type FsCounterName, type FsCounters } from '../vos/protocol/fs-counters.ts';
import { asking, serversOf, type Served } from './fs-servers.ts';
import { requireState } from './inspect.ts';
import { Metrics } from './metrics.ts';
import { findOne, select, withSelection, type Selection } from './options.ts';
import { CliError, ExitCode, output } from './output.ts';

interface InfoFlags extends Selection {
  readonly prometheus?: boolean;
}

/** A server, and what it told if it answered. */
export interface Told {
  readonly served: Served;
  readonly counters: Partial<FsCounters> | undefined;
}

const NAMES = Object.keys(FS_COUNTERS) as FsCounterName[];

export function registerInfo(fs: Command): void {
  withSelection(fs.command('info').argument('[service]', 'one of the file system servers'))
    .description('what servers have counted: leases, claims, the cache')
    .option('--prometheus', 'in the text format of Prometheus')
    .action(info);
}

async function info(wanted: string | undefined, flags: InfoFlags): Promise<void> {
  if (flags.prometheus === true && flags.json === true) {
    throw new CliError('--prometheus and --json are two forms', 'Give one.', ExitCode.USAGE);
  }
  const paths = select(flags);
  const { spec } = requireState(paths);
  const servers = serversOf(spec);
  const chosen =
    wanted === undefined
      ? servers
      : [
          findOne(servers, ({ service }) => service.name === wanted, {
            what: `file system server ${wanted}`,
            names: servers.map(({ service }) => service.name),
          }),
        ];
  const told = await Promise.all(
    chosen.map(async (served): Promise<Told> => {
      const counters = await asking(paths, served, async (client) => client.counters());
      return { served, counters };
    }),
  );
  if (flags.prometheus === true) output.line(fsExposition(spec.dvs, told).trimEnd());
  else if (flags.json === true) output.json({ items: told.map(describe) });
  else show(told);
}

function describe({ served: { container, service }, counters }: Told): object {
  return {
    service: service.name,
    container: container.name,
    node: service.node,
    state: counters === undefined ? 'down' : 'up',
    counters: Object.fromEntries(NAMES.map((name) => [name, counters?.[name] ?? null])),
  };
}

function show(told: readonly Told[]): void {
  const rows = told.flatMap(({ served: { service }, counters }) =>
    counters === undefined
      ? [[service.name, 'down', '']]
      : NAMES.map((name) => [service.name, name, counters[name] ?? '?']),
  );
  output.table(['SERVICE', 'COUNTER', 'VALUE'], rows);
}

/** The same as Prometheus reads it. What is not known is left out. */
export function fsExposition(dvs: string, told: readonly Told[]): string {
  const metrics = new Metrics('dvk_fs');
  for (const { served, counters } of told) {
    const { container, service } = served;
    const labels = { dvs, dc: container.name, service: service.name, node: service.node };
    const up = { kind: 'gauge', name: 'up', help: 'Whether the server answers.' } as const;
    metrics.add(up, labels, counters === undefined ? 0 : 1);
    for (const name of NAMES) {
      const { kind, doc } = FS_COUNTERS[name];
      const snake = name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      const full = kind === 'counter' ? `${snake}_total` : snake;
      metrics.add({ kind, name: full, help: doc }, labels, counters?.[name] ?? null);
    }
  }
  return metrics.text();
}
