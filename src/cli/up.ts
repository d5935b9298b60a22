/**
 * `dvk up`: brings a DVS up on this machine, from a spec or as the demo, and says where its mounts
 * are.
 */
import { accessSync, constants, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { parseSpec, type DvsSpec } from '../vos/spec.ts';
import { Cluster, startDaemon } from './cluster.ts';
import { demoSpec, ensureDemoImage } from './demo.ts';
import { bringDown, endUnderLock } from './down.ts';
import { withLock } from './lock.ts';
import { FUSE_TYPE, isStale, mountOn, probe } from './mounts.ts';
import { CliError, ExitCode, output } from './output.ts';
import { isAlive } from './process-table.ts';
import {
  DvsPaths,
  findRuntime,
  readDaemonRecord,
  readState,
  writeState,
  type DvsState,
} from './runtime.ts';
import { RAM_NOTE } from './ram-volume.ts';
import { chooseSecurity } from './security.ts';
import { inRanks, servicesOf } from './start-order.ts';
import { sleep } from './wait.ts';

export interface UpOptions {
  readonly runtime?: string;
  readonly name?: string;
  readonly nodes?: number;
  readonly bigFileBytes?: number;
  readonly writable?: boolean;
  readonly cluster?: string;
  readonly insecure?: boolean;
  readonly detach?: boolean;
  readonly json?: boolean;
}

export const DEMO_NAME = 'demo';
export const DEMO_NODES = 3;
const TRANSPORT_TITLES = { tcp: 'TCP', udp: 'UDP', ethernet: 'Ethernet' } as const;
const PROBE_TIMEOUT_MS = 8000;
const WATCH_MS = 500;

/** A spec that was read, and its text. */
interface Loaded {
  readonly spec: DvsSpec;
  readonly text: string;
}

interface Wanted extends Loaded {
  readonly options: UpOptions;
}

/** Brings a DVS up; without `detach`, stays until it is told to end, and brings it down. */
export async function up(file: string | undefined, options: UpOptions): Promise<void> {
  const interrupt = new Interrupt();
  try {
    const runtime = findRuntime(options.runtime);
    const { spec, text } = await interrupt.guard(async () =>
      load(file, options, runtime.directory),
    );
    const paths = new DvsPaths(runtime.directory, spec.dvs);
    paths.checkLength();
    refuseIfRunning(paths);
    checkImages(spec);
    output.note(`DVS ${spec.dvs} in ${paths.root}`, 'bold');
    await start(paths, { spec, text, options }, interrupt);
    announce(paths, spec, options);
    if (options.detach !== true) await stay(paths, interrupt);
  } finally {
    interrupt.close();
  }
}

async function load(
  file: string | undefined,
  options: UpOptions,
  runtime: string,
): Promise<Loaded> {
  const { name } = options;
  const common = name === undefined ? {} : { name };
  if (file !== undefined) {
    if (options.nodes !== undefined || options.writable !== undefined) {
      const option = options.nodes === undefined ? '--writable' : '--nodes';
      throw new CliError(
        `${option} is for the demo, and a spec says it itself`,
        `Leave ${option} out, or leave the spec out.`,
        ExitCode.USAGE,
      );
    }
    const text = readSpec(file);
    const directory = dirname(resolve(file));
    return { spec: parseSpec(text, { file, directory, ...common }), text };
  }
  const dvs = name ?? DEMO_NAME;
  const paths = new DvsPaths(runtime, dvs);
  refuseIfRunning(paths);
  const { image } = await ensureDemoImage(options.bigFileBytes);
  const mount = join(paths.root, 'mnt');
  const { nodes = DEMO_NODES, writable = false } = options;
  const text = demoSpec({ dvs, nodes, image, mount, writable });
  return { spec: parseSpec(text, { file: paths.spec, directory: paths.root, ...common }), text };
}

/** The text of a spec. Throws a CliError when it cannot be read. */
export function readSpec(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new CliError(
      `the spec ${file} cannot be read: ${code}`,
      'Give the path of a YAML file, or none for the demo.',
      ExitCode.USAGE,
    );
  }
}

function checkImages(spec: DvsSpec): void {
  for (const service of servicesOf(spec)) {
    if (service.kind !== 'fs' || service.ramBytes !== undefined) continue;
    try {
      accessSync(service.image, constants.R_OK);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new CliError(
        `the image ${service.image} of service ${service.name} cannot be read: ${code}`,
        'Make one with `mke2fs -t ext4 -d DIRECTORY IMAGE SIZE`, or correct the path.',
      );
    }
  }
}

async function start(paths: DvsPaths, wanted: Wanted, interrupt: Interrupt): Promise<void> {
  for (;;) {
    mkdirSync(paths.root, { recursive: true, mode: 0o700 });
    const done = await withLock(paths.lock, async () => {
      await clearLeftovers(paths);
      try {
        await interrupt.guard(async () => bringUp(paths, wanted));
      } catch (error) {
        output.note('  undoing what was done', 'yellow');
        await endUnderLock(paths);
        throw error;
      }
      return true;
    });
    // Undefined: `dvk down` removed the directory between the two calls.
    if (done === true) return;
  }
}

function refuseIfRunning(paths: DvsPaths): void {
  const state = readState(paths);
  const running = livingNodes(paths, state);
  if (state?.state !== 'running' || running.length === 0) return;
  const all = running.length === state.spec.nodes.length;
  throw new CliError(
    `DVS ${paths.dvs} is up already${all ? '' : ` (nodes ${running.join(', ')} only)`}`,
    'See `dvk status`; end it with `dvk down`, or start another with --name or --runtime.',
  );
}

function livingNodes(paths: DvsPaths, state: DvsState | undefined): number[] {
  return (state?.spec.nodes ?? [])
    .map(({ id }) => id)
    .filter((id) => {
      const daemon = readDaemonRecord(paths.node(id))?.daemon;
      return daemon !== undefined && isAlive(daemon);
    });
}

// We hold the lock, so a DVS that is starting or stopping belongs to a command that was killed.
async function clearLeftovers(paths: DvsPaths): Promise<void> {
  refuseIfRunning(paths);
  if (readState(paths) === undefined) return;
  output.note('  an earlier DVS of this name was not ended properly; removing what it left');
  await endUnderLock(paths);
  mkdirSync(paths.root, { recursive: true, mode: 0o700 });
}

async function bringUp(paths: DvsPaths, { spec, text, options }: Wanted): Promise<void> {
  const points = servicesOf(spec).flatMap((one) => (one.kind === 'fuse' ? [one.mount] : []));
  for (const point of points) await checkMountPoint(point);
  const madeDirectories = points.flatMap(missingDirectories);
  const since = Date.now();
  const security = chooseSecurity(paths, spec, options);
  writeState(paths, { state: 'starting', since, spec, security, ports: {}, madeDirectories });
  writeFileSync(paths.spec, text, { mode: 0o600 });
  for (const directory of madeDirectories) mkdirSync(directory);
  const nodes = spec.nodes.map(({ id }) => id);
  await output.step(`${String(nodes.length)} nodes`, async () => {
    await Promise.all(nodes.map(async (node) => startDaemon(paths, node)));
    return undefined;
  });
  const state = readState(paths);
  if (state === undefined) throw new CliError(`${paths.state} has gone`);
  const cluster = await Cluster.connect(paths, state);
  try {
    await startProxies(cluster, nodes);
    await startServices(cluster, spec);
  } finally {
    cluster.close();
  }
  const now = readState(paths) ?? state;
  writeState(paths, { ...now, state: 'running' });
}

/** Starts the proxies of these nodes and waits until all nodes are linked. */
export async function startProxies(cluster: Cluster, nodes: readonly number[]): Promise<void> {
  await output.step('links', async () => {
    await Promise.all(nodes.map(async (node) => cluster.startProxy(node)));
    await cluster.connectProxies();
    const count = String(await cluster.waitForLinks());
    const over = cluster.transports.map((name) => TRANSPORT_TITLES[name]).join(' and ');
    return `${count} over ${over}, ${cluster.sealed ? 'sealed' : 'INSECURE'}`;
  });
}

async function startServices(cluster: Cluster, spec: DvsSpec): Promise<void> {
  for (const service of inRanks(servicesOf(spec)).flat()) {
    await output.step(`service ${service.name} on node ${String(service.node)}`, async () => {
      await cluster.startService(service);
      if (service.kind === 'fs') return service.ramBytes === undefined ? undefined : RAM_NOTE;
      await checkMount(service.mount);
      return service.mount;
    });
  }
}

/** Throws when `path` is in use, but for a mount of ours whose gateway has gone. */
export async function checkMountPoint(path: string): Promise<void> {
  const present = mountOn(path);
  if (present === undefined || (present.type === FUSE_TYPE && (await isStale(path)))) return;
  throw new CliError(
    `the mount point ${path} is in use: ${present.source} (${present.type}) is mounted there`,
    'Unmount it, or choose another mount point.',
  );
}

/** Throws when the mount on `path` does not answer. */
export async function checkMount(path: string): Promise<void> {
  const reason = mountOn(path)?.type === FUSE_TYPE ? await probe(path, PROBE_TIMEOUT_MS) : 'absent';
  if (reason !== undefined) throw new CliError(`the mount on ${path} is not usable: ${reason}`);
}

// From the outermost to `path` itself, those that do not exist.
function missingDirectories(path: string): string[] {
  try {
    lstatSync(path);
    return [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return [];
    return [...missingDirectories(dirname(path)), path];
  }
}

function announce(paths: DvsPaths, spec: DvsSpec, options: UpOptions): void {
  const mounts = servicesOf(spec).flatMap((one) => (one.kind === 'fuse' ? [one.mount] : []));
  if (options.json === true) {
    output.json({ dvs: spec.dvs, directory: paths.root, mounts });
    return;
  }
  for (const mount of mounts) output.line(`mount ${mount}`);
  const name = `--name ${spec.dvs}`;
  if (options.detach === true) output.note(`  end it with: dvk down ${name}`, 'dim');
  else output.note('  Ctrl-C brings the DVS down', 'dim');
}

// Until a signal comes, or somebody else brings the DVS down.
async function stay(paths: DvsPaths, interrupt: Interrupt): Promise<void> {
  let running = livingNodes(paths, readState(paths));
  while (!interrupt.came) {
    const state = readState(paths);
    if (state === undefined) {
      output.note(`DVS ${paths.dvs} was brought down by another command`);
      return;
    }
    const now = livingNodes(paths, state);
    for (const node of running.filter((id) => !now.includes(id))) {
      output.note(`  node ${String(node)} went down; dvk node start ${String(node)}`, 'yellow');
    }
    for (const node of now.filter((id) => !running.includes(id))) {
      output.note(`  node ${String(node)} is up again`);
    }
    running = now;
    await Promise.race([sleep(WATCH_MS), interrupt.promise]);
  }
  output.note(`bringing DVS ${paths.dvs} down`, 'bold');
  await bringDown(paths);
}

/** SIGINT, SIGTERM and SIGHUP as a promise, so that what was begun is undone in good order. */
class Interrupt {
  came = false;
  readonly promise: Promise<void>;
  readonly #signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  #onSignal: () => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve) => {
      this.#onSignal = (): void => {
        this.came = true;
        resolve();
      };
    });
    for (const signal of this.#signals) process.on(signal, this.#onSignal);
  }

  /** Waits for `work`, but no longer than until a signal comes; then throws. */
  async guard<T>(work: () => Promise<T>): Promise<T> {
    const signalled = this.promise.then(() => {
      throw new CliError('interrupted');
    });
    return await Promise.race([work(), signalled]);
  }

  close(): void {
    for (const signal of this.#signals) process.off(signal, this.#onSignal);
  }
}
