/** `dvk fs quota`: how much of its volumes each container may use. */
import { rmSync } from 'node:fs';

import { InvalidArgumentError, type Command } from 'commander';

import { systemClock } from '../dvk/index.ts';
import type { FsClient } from '../vos/client/fs-client.ts';
import {
  QUOTA_BYTES_RANGE,
  QUOTA_INODES_RANGE,
  quotaFile,
  type Quota,
  type QuotaLimits,
} from '../vos/protocol/fs-quota.ts';
import { formatSize } from '../vos/spec-reader.ts';
import { asking, serversOf, type Served } from './fs-servers.ts';
import { requireState } from './inspect.ts';
import { change, findOne, select, sizeOption, wholeNumber, withSelection } from './options.ts';
import type { Selection } from './options.ts';
import { CliError, ExitCode, output } from './output.ts';
import { writeAtomically } from './runtime.ts';

/** A server that runs takes a new quota over at once. */
const TAKEN_OVER_MS = 5000;
const LOOK_MS = 20;

interface SetFlags extends Selection {
  /** Infinity: no limit. */
  readonly size?: number;
  readonly inodes?: number;
  readonly reset?: boolean;
}

export function registerQuota(fs: Command): void {
  const quota = fs
    .command('quota')
    .description('how much of its volumes a container may use: ls, set');
  withSelection(quota.command('ls')).description('limits and use of each volume').action(list);
  withSelection(quota.command('set').argument('<service>', 'the file system server'))
    .description('set the limits of the volume that a server has, until `dvk down`')
    .option('--size <size>', 'of all files together, as 1GiB; `none` for no limit', bytesOrNone)
    .option('--inodes <n>', 'files and directories; `none` for no limit', inodesOrNone)
    .option('--reset', 'what the spec says')
    .action(set);
}

function bytesOrNone(text: string): number {
  return text === 'none' ? Infinity : within(sizeOption(text), QUOTA_BYTES_RANGE);
}

function inodesOrNone(text: string): number {
  return text === 'none' ? Infinity : within(wholeNumber(text), QUOTA_INODES_RANGE);
}

function within(value: number, [min, max]: readonly [number, number]): number {
  if (value >= min && value <= max) return value;
  throw new InvalidArgumentError(`give ${String(min)} to ${String(max)}.`);
}

function describe({ container, service }: Served, quota: Quota | undefined): object {
  return {
    service: service.name,
    container: container.name,
    node: service.node,
    state: quota === undefined ? 'down' : 'up',
    bytesMax: quota?.limits.bytes ?? null,
    bytesUsed: quota?.bytesUsed ?? null,
    inodesMax: quota?.limits.inodes ?? null,
    inodesUsed: quota?.inodesUsed ?? null,
  };
}

async function list(selection: Selection): Promise<void> {
  const paths = select(selection);
  const servers = serversOf(requireState(paths).spec);
  const rows = await Promise.all(
    servers.map(async (served) => {
      const quota = await asking(paths, served, async (client) => client.quota());
      return { served, quota };
    }),
  );
  if (selection.json === true) {
    output.json({ items: rows.map(({ served, quota }) => describe(served, quota)) });
    return;
  }
  output.table(
    ['SERVICE', 'DC', 'NODE', 'SIZE', 'USED', 'INODES', 'USED'],
    rows.map(({ served: { service, container }, quota }) => [
      service.name,
      container.name,
      service.node,
      ...cells(quota),
    ]),
  );
}

function cells(quota: Quota | undefined): (string | number)[] {
  if (quota === undefined) return ['down', '', '', ''];
  const { limits, bytesUsed, inodesUsed } = quota;
  const size = limits.bytes === undefined ? 'none' : formatSize(limits.bytes);
  return [size, formatSize(bytesUsed), limits.inodes ?? 'none', inodesUsed];
}

async function set(wanted: string, flags: SetFlags): Promise<void> {
  const { size, inodes, reset } = flags;
  if ((size === undefined && inodes === undefined) === (reset !== true)) {
    const remedy = 'Give --size, --inodes or both; or --reset alone.';
    throw new CliError('there is nothing to set', remedy, ExitCode.USAGE);
  }
  await change(flags, async ({ paths, state }) => {
    const servers = serversOf(state.spec);
    const served = findOne(servers, ({ service }) => service.name === wanted, {
      what: `file system server ${wanted}`,
      names: servers.map(({ service }) => service.name),
    });
    if (served.service.readOnly) {
      throw new CliError(`the volume of ${wanted} is read-only, so it needs no quota`);
    }
    const quota = await asking(paths, served, async (client, segment) => {
      const before = (await client.quota()).limits;
      const limits = reset === true ? (served.service.quota ?? {}) : merged(before, flags);
      const file = quotaFile(segment.path, wanted);
      if (reset === true) rmSync(file, { force: true });
      else writeAtomically(file, `${JSON.stringify(limits)}\n`);
      const server = segment.process(served.service.slot);
      if (server !== undefined) segment.wakeup(server.endpoint);
      return await takenOver(client, limits);
    });
    if (quota === undefined) {
      const remedy = `Start it: dvk service start ${wanted}`;
      throw new CliError(`the file system server ${wanted} does not answer`, remedy);
    }
    if (flags.json === true) output.json(describe(served, quota));
    else output.table(['SERVICE', 'SIZE', 'USED', 'INODES', 'USED'], [[wanted, ...cells(quota)]]);
  });
}

function merged(before: QuotaLimits, { size, inodes }: SetFlags): QuotaLimits {
  return {
    bytes: size === Infinity ? undefined : (size ?? before.bytes),
    inodes: inodes === Infinity ? undefined : (inodes ?? before.inodes),
  };
}

/** What the server says when it has taken the limits over. */
async function takenOver(client: FsClient, wanted: QuotaLimits): Promise<Quota> {
  const untilMs = systemClock.nowMs() + TAKEN_OVER_MS;
  for (;;) {
    const quota = await client.quota();
    const { bytes, inodes } = quota.limits;
    if (bytes === wanted.bytes && inodes === wanted.inodes) return quota;
    if (systemClock.nowMs() > untilMs) {
      throw new CliError('the server has not taken the quota over', 'See its log, and try again.');
    }
    await new Promise<void>((resolve) => {
      systemClock.after(LOOK_MS, resolve);
    });
  }
}
