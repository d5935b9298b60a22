/**
 * What a DVS, or one of its nodes, left behind: found by what the system knows, not by what we
 * remember.
 *
 * Processes carry the directory of their DVS and node in their environment; mounts are of type
 * fuse.dvk on a mount point of the spec, or below the DVS's directory; everything else is a file
 * below that directory.
 */
import { rmdirSync, rmSync } from 'node:fs';

import type { ServiceSpec } from '../vos/spec.ts';
import { FUSE_TYPE, isStale, listMounts, unmount } from './mounts.ts';
import { CliError } from './output.ts';
import { isAlive, killAll, withEnvironment, type ProcessId } from './process-table.ts';
import {
  DVS_VARIABLE,
  NODE_VARIABLE,
  readDaemonRecord,
  readState,
  type DvsPaths,
  type NodePaths,
} from './runtime.ts';
import { servicesOf } from './start-order.ts';

const KILL_TIMEOUT_MS = 5000;

/** What was found and removed. */
export interface Leftovers {
  readonly processes: number;
  readonly mounts: readonly string[];
}

/**
 * Removes what is left of one node; its logs stay. Its daemon must not be running any more, or is
 * killed.
 */
export async function cleanNode(paths: DvsPaths, node: number): Promise<Leftovers> {
  const nodePaths = paths.node(node);
  const processes = await kill(nodeProcesses(nodePaths));
  const state = readState(paths);
  const services = state === undefined ? [] : servicesOf(state.spec);
  const mounts = await unmountAll(mountPoints(services.filter((service) => service.node === node)));
  refuseMounts(nodePaths.root);
  for (const path of [nodePaths.socket, nodePaths.record, nodePaths.wake]) {
    rmSync(path, { recursive: true, force: true });
  }
  for (const container of state?.spec.containers ?? []) {
    rmSync(nodePaths.segment(container.name), { force: true });
  }
  return { processes, mounts };
}

/**
 * Removes what is left of a DVS, its directory included; only the lock's file is left to its
 * holder.
 */
export async function cleanDvs(paths: DvsPaths): Promise<Leftovers> {
  const state = readState(paths);
  const recorded = state?.spec.nodes.flatMap(({ id }) => recordedProcesses(paths.node(id))) ?? [];
  const processes = await kill([...withEnvironment(DVS_VARIABLE, paths.root), ...recorded]);
  const wanted = new Set(state === undefined ? [] : mountPoints(servicesOf(state.spec)));
  for (const { path, type, source } of listMounts()) {
    if (type !== FUSE_TYPE) continue;
    // Gateways name their mounts dvk:DVS-SERVICE; of those, only dead ones are taken away,
    // whoever's they are.
    if (path.startsWith(`${paths.root}/`) || source.startsWith(`dvk:${paths.dvs}-`))
      wanted.add(path);
  }
  const mounts = await unmountAll([...wanted]);
  for (const directory of [...(state?.madeDirectories ?? [])].reverse()) removeEmpty(directory);
  refuseMounts(paths.root);
  rmSync(paths.root, { recursive: true, force: true });
  return { processes, mounts };
}

function nodeProcesses(paths: NodePaths): ProcessId[] {
  return [...withEnvironment(NODE_VARIABLE, paths.root), ...recordedProcesses(paths)];
}

function recordedProcesses(paths: NodePaths): ProcessId[] {
  const record = readDaemonRecord(paths);
  return record === undefined ? [] : [record.daemon, ...record.children];
}

async function kill(found: readonly ProcessId[]): Promise<number> {
  const ids = [...new Map(found.map((id) => [id.pid, id])).values()].filter(isAlive);
  const left = await killAll(ids, KILL_TIMEOUT_MS);
  if (left.length === 0) return ids.length;
  const pids = left.map(({ pid }) => String(pid)).join(', ');
  throw new CliError(
    `processes ${pids} do not end, although they were killed`,
    'They hang in the kernel; look at /proc/PID/stack, then try again.',
  );
}

function mountPoints(services: readonly ServiceSpec[]): string[] {
  return services.flatMap((service) => (service.kind === 'fuse' ? [service.mount] : []));
}

// By now the DVS's gateways are dead. A mount that still answers belongs to somebody else.
async function unmountAll(points: readonly string[]): Promise<string[]> {
  const present = listMounts().filter(
    ({ path, type }) => type === FUSE_TYPE && points.includes(path),
  );
  const done: string[] = [];
  for (const { path } of present) {
    if (!(await isStale(path))) continue;
    const trouble = await unmount(path);
    if (trouble !== undefined) {
      throw new CliError(`${path} cannot be unmounted: ${trouble}`, `Try: umount -l ${path}`);
    }
    done.push(path);
  }
  return done;
}

// Nothing is removed recursively while something is mounted below: that would delete files of the
// mount.
function refuseMounts(root: string): void {
  const below = listMounts().find(({ path }) => path === root || path.startsWith(`${root}/`));
  if (below === undefined) return;
  throw new CliError(
    `${below.path} is still mounted (${below.type}), so ${root} is not removed`,
    `Unmount it: umount ${below.path}`,
  );
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Somebody put something in it, or removed it.
  }
}
