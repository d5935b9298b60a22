/** `dvk fs info`: what file system servers and mounts have counted. */
import type { Command } from 'commander';

import { MOUNT_COUNTERS } from '../vos/fuse/mount-counters.ts';
import { FS_COUNTERS } from '../vos/protocol/fs-counters.ts';
import type { ContainerSpec, ServiceSpec } from '../vos/spec.ts';
import { Cluster } from './cluster.ts';
import { asking } from './fs-servers.ts';
import { requireState } from './inspect.ts';
import { Metrics } from './metrics.ts';
import { findOne, select, withSelection, type Selection } from './options.ts';
import { CliError, ExitCode, output } from './output.ts';
import type { CountersReport } from './report.ts';
import type { DvsPaths } from './runtime.ts';

interface InfoFlags extends Selection {
  readonly prometheus?: boolean;
}

/** A server or a mount, and where it is. */
export interface Counting {
  readonly container: ContainerSpec;
  readonly service: ServiceSpec;
}

/** And what it told, if it answered. */
export interface Told extends Counting {
  readonly counters: Readonly<Record<string, number | undefined>> | undefined;
}

/** By the kind of service, with what the names in Prometheus begin with. */
const KINDS = {
  fs: { prefix: 'dvk_fs', help: 'Whether the server answers.', names: FS_COUNTERS },
  fuse: { prefix: 'dvk_mount', help: 'Whether the mount answers.', names: MOUNT_COUNTERS },
} as const;

export function registerInfo(fs: Command): void {
  withSelection(fs.command('info').argument('[service]', 'one of the servers or mounts'))
    .description('what servers and mounts have counted: leases, claims, the cache, errors')
    .option('--prometheus', 'in the text format of Prometheus')
    .action(info);
}

async function info(wanted: string | undefined, flags: InfoFlags): Promise<void> {
  if (flags.prometheus === true && flags.json === true) {
    throw new CliError('--prometheus and --json are two forms', 'Give one.', ExitCode.USAGE);
  }
  const paths = select(flags);
  const state = requireState(paths);
  const { dvs, containers } = state.spec;
  const all = containers.flatMap((container): Counting[] =>
    container.services.map((service) => ({ container, service })),
  );
  const chosen =
    wanted === undefined
      ? all
      : [
          findOne(all, ({ service }) => service.name === wanted, {
            what: `file system server or mount ${wanted}`,
            names: all.map(({ service }) => service.name),
          }),
        ];
  const cluster = await Cluster.connect(paths, state);
  let told: Told[];
  try {
    told = await Promise.all(
      chosen.map(async (one) => ({ ...one, counters: await ask(paths, cluster, one) })),
    );
  } finally {
    cluster.close();
  }
  if (flags.prometheus === true) output.line(fsExposition(dvs, told).trimEnd());
  else if (flags.json === true) output.json({ items: told.map(describe) });
  else show(told);
}

/** A server is asked by a message, and a mount, which serves none, by way of its daemon. */
async function ask(
  paths: DvsPaths,
  cluster: Cluster,
  { container, service }: Counting,
): Promise<Told['counters']> {
  if (service.kind === 'fs') {
    return await asking(paths, { container, service }, async (client) => client.counters());
  }
  if (!cluster.has(service.node)) return undefined;
  const answer = await cluster.call(service.node, 'counters', { name: service.name });
  return (answer as CountersReport) ?? undefined;
}

function describe({ container, service, counters }: Told): object {
  const { kind, name, node } = service;
  return {
    service: name,
    kind,
    container: container.name,
    node,
    state: counters === undefined ? 'down' : 'up',
    counters: Object.fromEntries(namesOf(kind).map((one) => [one, counters?.[one] ?? null])),
  };
}

function namesOf(kind: ServiceSpec['kind']): string[] {
  return Object.keys(KINDS[kind].names);
}

function show(told: readonly Told[]): void {
  const rows = told.flatMap(({ service: { name, kind }, counters }) =>
    counters === undefined
      ? [[name, 'down', '']]
      : namesOf(kind).map((one) => [name, one, counters[one] ?? '?']),
  );
  output.table(['SERVICE', 'COUNTER', 'VALUE'], rows);
}

/** The same as Prometheus reads it. What is not known is left out. */
export function fsExposition(dvs: string, told: readonly Told[]): string {
  const text = (['fs', 'fuse'] as const).map((wanted) => {
    const { prefix, help, names } = KINDS[wanted];
    const metrics = new Metrics(prefix);
    for (const { container, service, counters } of told) {
      if (service.kind !== wanted) continue;
      const labels = { dvs, dc: container.name, service: service.name, node: service.node };
      metrics.add({ kind: 'gauge', name: 'up', help }, labels, counters === undefined ? 0 : 1);
      for (const [name, { kind, doc }] of Object.entries(names)) {
        const snake = name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
        const full = kind === 'counter' ? `${snake}_total` : snake;
        metrics.add({ kind, name: full, help: doc }, labels, counters?.[name] ?? null);
      }
    }
    return metrics.text();
  });
  return text.join('');
}
