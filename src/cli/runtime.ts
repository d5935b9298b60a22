/**
 * Where a DVS keeps its running state, and what is in there.
 *
 *   RUNTIME/                 memory-backed
 *     DVS/                   one DVS of this machine
 *       dvs.json             normalised spec, ports, state; written by rename
 *       spec.yaml            the spec as it was given
 *       lock                 held (flock) while a command changes the DVS
 *       mnt/                 mount point of the demo
 *       cluster/             certificates, when the DVS made its own
 *       node<N>/             one node
 *         daemon.sock        JSON lines, mode 0600
 *         daemon.json        who the daemon and its children are
 *         dc-<name>.seg      the node's segment of a container
 *         ram-<service>.img  a volume in memory
 *         wake/              FIFOs
 *         log/*.log
 *
 * Segments must be in memory: a futex or a message in a file on a disk would be written back all
 * the time.
 */
import { accessSync, constants, lstatSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import { renameSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import type { DvsSpec } from '../vos/spec.ts';
import { CliError, ExitCode } from './output.ts';
import type { ProcessId } from './process-table.ts';

const TMPFS_MAGIC = 0x01021994;
const RAMFS_MAGIC = 0x858458f6;
// sockaddr_un has room for 107 bytes and NUL; this is the longest path below a DVS's directory.
const SOCKET_PATH_BYTES_MAX = 107;
const LONGEST_SOCKET = '/node1023/daemon.sock';
const DVS_FORMAT = 3;

/** Marks every process of a DVS, and of a node, so that each can be found after a crash. */
export const DVS_VARIABLE = 'DVK_DVS_DIR';
export const NODE_VARIABLE = 'DVK_NODE_DIR';

export interface Runtime {
  readonly directory: string;
  /** Why it is not the standard directory; undefined when it is, or when it was chosen. */
  readonly note?: string;
}

/** How links between nodes are protected. */
export type Security =
  { readonly mode: 'sealed'; readonly directory: string } | { readonly mode: 'insecure' };

/** A DVS's state file. Written only under the lock. */
export interface DvsState {
  readonly format: typeof DVS_FORMAT;
  /** `starting` and `stopping` after a command that did not come to its end. */
  readonly state: 'starting' | 'running' | 'stopping';
  /** When the DVS was brought up, in ms of the wall clock. */
  readonly since: number;
  readonly spec: DvsSpec;
  /** Where the certificates are. */
  readonly security: Security;
  /** Port of each node's proxy, kept so that a restarted proxy is found by its peers. */
  readonly ports: Readonly<Record<string, number>>;
  /** Address of each node's interface, when it has links over Ethernet. */
  readonly stations?: Readonly<Record<string, string>>;
  /** Directories that were made for mounts, and are removed with the DVS. */
  readonly madeDirectories: readonly string[];
}

/** A node's daemon.json. */
export interface DaemonRecord {
  readonly daemon: ProcessId;
  readonly children: readonly ProcessId[];
}

/** Whether the file system that holds `path`, or would hold it, is in memory. */
export function isMemoryBacked(path: string): boolean {
  const { type } = statfsSync(existingAncestor(path));
  return type === TMPFS_MAGIC || type === RAMFS_MAGIC;
}

function existingAncestor(path: string): string {
  let place = path;
  for (;;) {
    try {
      lstatSync(place);
      return place;
    } catch {
      if (place === dirname(place)) return place;
      place = dirname(place);
    }
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(existingAncestor(path), constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The runtime directory for `--runtime` or the environment. Throws a CliError that says what to use
 * instead.
 */
export function findRuntime(
  option: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): Runtime {
  const chosen = option ?? environment['DVK_RUNTIME_DIR'];
  if (chosen !== undefined && chosen !== '') {
    const directory = resolve(chosen);
    if (isMemoryBacked(directory)) return { directory };
    throw new CliError(
      `${directory} is not in memory (tmpfs), and segments must be`,
      'Use a directory below /dev/shm, or leave --runtime and DVK_RUNTIME_DIR out.',
      ExitCode.USAGE,
    );
  }
  return defaultRuntime(environment);
}

function defaultRuntime(environment: NodeJS.ProcessEnv): Runtime {
  const uid = process.getuid?.() ?? 0;
  const base = uid === 0 ? '/run' : environment['XDG_RUNTIME_DIR'];
  if (base !== undefined && base !== '' && isMemoryBacked(base) && isWritable(base)) {
    return { directory: join(base, 'dvk') };
  }
  const directory = uid === 0 ? '/dev/shm/dvk' : `/dev/shm/dvk-${String(uid)}`;
  const absent = base === undefined || base === '';
  const why = absent ? 'XDG_RUNTIME_DIR is not set' : `${base} is not in memory, or not writable`;
  if (isMemoryBacked(directory) && isWritable(directory)) {
    checkOwner(directory, uid);
    return { directory, note: `${why}, so ${directory} is used` };
  }
  throw new CliError(
    `no directory in memory was found: ${why}, and /dev/shm cannot be used either`,
    'Mount a tmpfs and name it with --runtime DIR.',
  );
}

// Anybody may make directories in /dev/shm; in one of somebody else, files could be exchanged.
function checkOwner(directory: string, uid: number): void {
  const found = lstatSync(directory, { throwIfNoEntry: false });
  if (found === undefined || (found.isDirectory() && found.uid === uid)) return;
  throw new CliError(
    `${directory} belongs to somebody else (user ${String(found.uid)})`,
    'Have it removed, or choose another directory with --runtime.',
  );
}

/** The paths of one DVS. */
export class DvsPaths {
  readonly runtime: string;
  readonly dvs: string;
  readonly root: string;
  readonly state: string;
  readonly spec: string;
  readonly lock: string;

  constructor(runtime: string, dvs: string) {
    this.runtime = runtime;
    this.dvs = dvs;
    this.root = join(runtime, dvs);
    this.state = join(this.root, 'dvs.json');
    this.spec = join(this.root, 'spec.yaml');
    this.lock = join(this.root, 'lock');
  }

  node(id: number): NodePaths {
    return new NodePaths(join(this.root, `node${String(id)}`));
  }

  /** Throws when sockets below this DVS would have a path that the system cannot take. */
  checkLength(): void {
    const bytes = Buffer.byteLength(this.root + LONGEST_SOCKET);
    if (bytes <= SOCKET_PATH_BYTES_MAX) return;
    const excess = String(bytes - SOCKET_PATH_BYTES_MAX);
    throw new CliError(
      `${this.root} is too long a path for unix sockets, by ${excess} bytes`,
      'Choose a shorter --runtime.',
      ExitCode.USAGE,
    );
  }
}

/** The paths of one node. */
export class NodePaths {
  readonly root: string;
  readonly socket: string;
  readonly record: string;
  readonly wake: string;
  readonly logs: string;

  constructor(root: string) {
    this.root = root;
    this.socket = join(root, 'daemon.sock');
    this.record = join(root, 'daemon.json');
    this.wake = join(root, 'wake');
    this.logs = join(root, 'log');
  }

  segment(container: string): string {
    return join(this.root, `dc-${container}.seg`);
  }

  /** The volume in memory of a file system server. */
  ramVolume(service: string): string {
    return join(this.root, `ram-${service}.img`);
  }

  log(name: string): string {
    return join(this.logs, `${name}.log`);
  }
}

/** Replaces a file at once: a reader, or a crash, sees the old content or the new. */
export function writeAtomically(path: string, text: string): void {
  const temporary = `${path}.${String(process.pid)}`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as unknown;
  } catch {
    return undefined;
  }
}

/** The state of a DVS; undefined when there is none, or it cannot be read. */
export function readState(paths: DvsPaths): DvsState | undefined {
  const state = readJson(paths.state) as DvsState | undefined;
  return state?.format === DVS_FORMAT ? state : undefined;
}

export function writeState(paths: DvsPaths, state: Omit<DvsState, 'format'>): void {
  const text = JSON.stringify({ ...state, format: DVS_FORMAT }, undefined, 2);
  writeAtomically(paths.state, `${text}\n`);
}

export function readDaemonRecord(paths: NodePaths): DaemonRecord | undefined {
  return readJson(paths.record) as DaemonRecord | undefined;
}

/** Names of the DVSs below a runtime directory, whether they run or only left something behind. */
export function listDvs(runtime: string): string[] {
  try {
    return readdirSync(runtime, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch {
    return [];
  }
}

/** The DVS that a command is about: the named one, or the only one. */
export function chooseDvs(runtime: string, name: string | undefined): DvsPaths {
  const present = listDvs(runtime);
  if (name !== undefined) {
    if (present.includes(name)) return new DvsPaths(runtime, name);
    const known = present.length === 0 ? 'none is there' : `there are ${present.join(', ')}`;
    throw new CliError(`no DVS ${name} under ${runtime}: ${known}`, 'Start it with `dvk up`.');
  }
  const [only, ...others] = present;
  if (only === undefined) {
    throw new CliError(`no DVS is up under ${runtime}`, 'Start one with `dvk up`.');
  }
  if (others.length === 0) return new DvsPaths(runtime, only);
  throw new CliError(
    `there are several DVSs under ${runtime}: ${present.join(', ')}`,
    'Say which one with --name DVS.',
    ExitCode.USAGE,
  );
}
