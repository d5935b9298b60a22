/**
 * The file system server: serves an ext4 image to the processes of its container.
 *
 * Started by the node daemon; see `boot`. The block cache and the staging buffer lie in the
 * container's arena, so that data reaches a client of this node by one memcpy, and the proxy takes
 * it for other nodes from where it is.
 *
 * Changes are committed when a client syncs, every few seconds, and at the end. Who syncs waits for
 * a thread that writes the commit, and others are served meanwhile.
 */
import { boot, bootFailed, type ServiceConfig } from '../../dvk/boot.ts';
import { isDvkError, Segment, slotOf } from '../../dvk/index.ts';
import type { Endpoint, GrantId, LinkInfo, NodeId, Process } from '../../dvk/index.ts';
import type { FsCounters } from '../../vos/protocol/fs-counters.ts';
import { quotaFile } from '../../vos/protocol/fs-quota.ts';
import { FsCall, type Timestamp } from '../../vos/protocol/fs.ts';
import { HeldReplies } from '../../vos/held-replies.ts';
import { type Chore, serve } from '../../vos/server.ts';
import { FS_MEMORY, type FsMemory } from '../../vos/spec-fs.ts';
import type { FsServiceSpec } from '../../vos/spec.ts';
import { BlockCache } from './cache.ts';
import { ChangingHandlers, type ChangingParts } from './changing-handlers.ts';
import { NO_FILE } from './changes.ts';
import { Commits } from './commits.ts';
import { ERRNO, FsError, isFsError } from './errors.ts';
import { COMPAT } from './ext4/layout.ts';
import { Volume } from './ext4/volume.ts';
import { recover } from './journal/recovered-device.ts';
import type { Sleeper } from './journal/worker-protocol.ts';
import { GrantedMemory } from './granted-memory.ts';
import { createHandlers } from './handlers.ts';
import { LeaseHandlers } from './lease-handlers.ts';
import { LeaseTable } from './leases.ts';
import { openForWriting } from './open.ts';
import { QuotaSource } from './quota-source.ts';
import { rawCrc32c } from './raw-crc32c.ts';
import { openServed } from './served-image.ts';
import { Survivors } from './survivors.ts';
import { WatchedWriter } from './watched-writer.ts';

/** What is not synced is committed after this time, as Linux's ext4 does. */
const COMMIT_MS = 5000;
/** How long the node of a client may take to say whether it lives. */
const ASK_TIMEOUT_MS = 250;
const NS_PER_MS = 1_000_000n;
const NS_PER_SECOND = 1_000_000_000n;

/** A volume as the server uses it. */
interface Opened {
  readonly volume: Volume;
  readonly cache: BlockCache;
  /** For those who start the server; `io`: see `ServedImage`. */
  readonly facts: { readonly bytes: number; readonly io: string; readonly replayed: number };
  /** Undefined: it is not written to. */
  readonly commits?: Commits;
  /** Leaves a volume that needs no recovery. Throws FsError. */
  readonly close: () => void;
}

/** What opening a volume takes besides its path. */
interface OpenParts {
  /** Memory of the arena. */
  readonly allocate: (bytes: number) => Uint8Array;
  readonly now: () => Timestamp;
  /** The server, in its receive. */
  readonly sleeper: Sleeper;
}

function memoryOf({ memory }: FsServiceSpec): FsMemory {
  return { ...FS_MEMORY, ...memory };
}

function open(service: FsServiceSpec, parts: OpenParts): Opened {
  return service.readOnly ? openReadOnly(service, parts) : openWritable(service, parts);
}

function openReadOnly(service: FsServiceSpec, { allocate }: OpenParts): Opened {
  const { image, io } = openServed(service, 'read');
  const { device, transactions } = recover(image, rawCrc32c);
  const cache = new BlockCache(device, allocate(memoryOf(service).cache));
  const volume = Volume.open(device, cache, { crc32c: rawCrc32c });
  const close = (): void => {
    image.close();
  };
  const facts = { bytes: device.bytes, io, replayed: transactions };
  return { volume, cache, facts, close };
}

function openWritable(service: FsServiceSpec, parts: OpenParts): Opened {
  const { allocate, now, sleeper } = parts;
  const sizes = memoryOf(service);
  const { image, io } = openServed(service, 'write');
  const program = new URL('./journal/commit-worker.js', import.meta.url);
  const worker = { program, image, wake: sleeper };
  const memory = allocate(sizes.cache);
  const options = { memory, crc32c: rawCrc32c, timeMs: Date.now, worker };
  const writing = openForWriting(image, options);
  const { cache, changes, replayed } = writing;
  if (!writing.wasClean) {
    writing.close();
    throw new FsError('EUCLEAN', 'the volume was not closed cleanly; run e2fsck -f on the image');
  }
  const volume = Volume.open(image, cache, {
    changes,
    crc32c: rawCrc32c,
    now,
    discards: service.discard ?? image.isFile,
    accessTimes: service.atime ?? 'relatime',
    // It was replayed, and says until it is closed that it has to be.
    ignoreJournal: true,
    keepNameless: true,
    delayedMemory: allocate(sizes.delayed),
  });
  return {
    volume,
    cache,
    facts: { bytes: image.bytes, io, replayed },
    commits: new Commits(changes),
    close: () => {
      writing.close();
      image.close();
    },
  };
}

/**
 * The time, each later than the one before: by it clients see that a file has changed, so two
 * changes may not have the same. When the clock of the machine is put back, so is this one.
 */
function timestamps(): Pick<Required<ChangingParts>, 'now' | 'follow'> {
  let lastNs = 0n;
  const now = (): Timestamp => {
    const nowNs = BigInt(Date.now()) * NS_PER_MS;
    const isJump = lastNs - nowNs > NS_PER_SECOND;
    lastNs = nowNs > lastNs || isJump ? nowNs : lastNs + 1n;
    const seconds = Number(lastNs / NS_PER_SECOND);
    return { seconds, nanoseconds: Number(lastNs % NS_PER_SECOND) };
  };
  const follow = (time: Timestamp): Timestamp => {
    const timeNs = BigInt(time.seconds) * NS_PER_SECOND + BigInt(time.nanoseconds);
    if (timeNs >= BigInt(Date.now() + 1) * NS_PER_MS) return now();
    if (timeNs > lastNs) lastNs = timeNs;
    return time;
  };
  return { now, follow };
}

/** Whether a crash leaves what was committed, and that alone. */
function isJournalled(volume: Volume): boolean {
  return !volume.readOnly && (volume.superblock.compat & COMPAT.hasJournal) !== 0;
}

/** Commits from time to time, and whatever replies wait for. */
class Chores implements Chore {
  readonly #run: () => void;
  readonly #tick: () => void;
  #dueMs = performance.now() + COMMIT_MS;

  readonly #soonMs: () => number;

  /** `run` is done after `soonMs`, and when the server is woken; `tick` every few seconds. */
  constructor(run: () => void, soonMs: () => number, tick: () => void) {
    this.#run = run;
    this.#soonMs = soonMs;
    this.#tick = tick;
  }

  leftMs(): number {
    const leftMs = Math.min(this.#dueMs - performance.now(), this.#soonMs());
    return Math.max(0, Math.ceil(leftMs));
  }

  run(): void {
    if (this.#dueMs <= performance.now()) {
      this.#tick();
      this.#dueMs = performance.now() + COMMIT_MS;
    }
    this.#run();
  }
}

interface Surroundings {
  readonly volume: Volume;
  readonly commits: Commits | undefined;
  readonly segment: Segment;
  readonly server: Process;
  readonly now: () => Timestamp;
  /** Whether a client has something open, or locked. */
  readonly has: (client: number) => boolean;
}

/** Undefined where no open file outlives the server: those without names are freed then. */
function survivorsIn({
  volume,
  commits,
  segment,
  server,
  now,
  has,
}: Surroundings): Survivors | undefined {
  if (commits === undefined || !isJournalled(volume)) {
    volume.freeNameless();
    return undefined;
  }
  return new Survivors({
    volume,
    node: segment.nodeId,
    commit: () => {
      commits.commit(NO_FILE);
    },
    isAlive: (client) => segment.isBound(client as Endpoint),
    has,
    ask: (client, node) => askFor(client as Endpoint, segment.link(node as NodeId), server),
    nodeOf: (client) => segment.process(slotOf(client as Endpoint))?.node,
    nowMs: () => performance.now(),
    now,
  });
}

/**
 * What the node of a client says of it. A copy looks for its parties; here it is of memory that
 * nobody granted.
 */
function askFor(
  client: Endpoint,
  link: LinkInfo | undefined,
  server: Process,
): 'gone' | 'there' | 'silent' {
  if (link === undefined) return 'gone';
  // A link that was up and is down is given up, as all know; one that never was is still to come.
  if (link.state !== 'up') return link.session > 0 ? 'gone' : 'silent';
  try {
    const source = { endpoint: client, grant: 0 as GrantId, at: 0 };
    server.vcopySync(source, new Uint8Array(1), 1, ASK_TIMEOUT_MS);
    return 'there';
  } catch (error) {
    if (!isDvkError(error)) throw error;
    if (error.code === 'EDEADSRCDST') return 'gone';
    const silent = ['ETIMEDOUT', 'ENOTCONN', 'EDVSNOPROXY', 'EINTR'].includes(error.code);
    return silent ? 'silent' : 'there';
  }
}

interface Counted {
  readonly leases: LeaseHandlers;
  readonly changing: ChangingHandlers;
  readonly memory: GrantedMemory;
  readonly cache: BlockCache;
}

function countersOf({ leases, changing, memory, cache }: Counted): FsCounters {
  const { granted, recalled, evicted, lapsed, refused } = leases.counters;
  return {
    leases: leases.size,
    leaseClients: leases.clients,
    leasesGranted: granted,
    leasesRecalled: recalled,
    leasesEvicted: evicted,
    leasesExpired: lapsed,
    leasesRefused: refused,
    claims: changing.claims,
    windows: memory.windows.size,
    cacheHits: cache.hits,
    cacheMisses: cache.misses,
  };
}

/** What failed is told to those who sync. */
function quietly(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!isFsError(error)) throw error;
  }
}

/** `wait`, whose failure is also told to `failed`. */
function told(
  wait: () => number | undefined,
  failed: (outcome: number) => void,
): () => number | undefined {
  return () => {
    const outcome = wait();
    if (outcome !== undefined && outcome < 0) failed(outcome);
    return outcome;
  };
}

async function main(): Promise<void> {
  const { config, ready } = await boot<ServiceConfig<FsServiceSpec>>({ blocking: true });
  const { service } = config;
  const segment = Segment.open(config.segment);
  const server = segment.bind({ slot: service.slot, level: 'server', name: service.name });
  const { now, follow } = timestamps();
  const { volume, cache, facts, commits, close } = open(service, {
    allocate: (size) => server.allocate(size),
    now,
    sleeper: { segment: config.segment, endpoint: server.endpoint },
  });
  const quota = new QuotaSource(volume, quotaFile(config.segment, service.name), service.quota);
  const memory = new GrantedMemory(server, segment, memoryOf(service).windows);
  const isAlive = (client: number): boolean => segment.isBound(client as Endpoint);
  const has = (client: number): boolean => changing.has(client);
  const survivors = survivorsIn({ volume, commits, segment, server, now, has });
  const held = new HeldReplies();
  const leases = new LeaseHandlers(new LeaseTable(), {
    isAlive,
    nowMs: () => performance.now(),
    hold: held.await.bind(held),
    copied: () => memory.copied,
    mayJoin: (): boolean => changing.endClaims(),
  });
  const writer = new WatchedWriter(volume, (recall) => {
    leases.touch(recall);
  });
  const changing = new ChangingHandlers(volume, memory, {
    writer: volume.readOnly ? undefined : writer,
    commit: (failed, file) => {
      held.await(told(commits?.begin(file) ?? ((): number => 0), failed));
    },
    isAlive,
    isWatched: (): boolean => leases.isUsed,
    now,
    nowMs: () => performance.now(),
    follow,
    ...(survivors && { survivors }),
  });
  const counters = (): FsCounters => countersOf({ leases, changing, memory, cache });
  const reading = createHandlers(volume, memory, counters);
  const calls = changing.guarded(new Map([...reading, ...changing.table()]));
  calls.set(FsCall.WINDOW, (request, reply) => memory.windows.onWindow(request, reply));
  const { readOnly } = volume;
  await ready({ endpoint: server.endpoint, image: service.image, ...facts, readOnly });
  const settle = (): void => {
    quota.look();
    commits?.poll();
    leases.expire();
    held.settle(server);
  };
  const soonMs = (): number => Math.min(leases.leftMs(), held.leftMs());
  const tick = (): void => {
    changing.sweep();
    leases.sweep();
    memory.windows.sweep();
    quietly(() => commits?.begin(NO_FILE));
    volume.discard();
  };
  serve(server, leases.around(calls), new Chores(settle, soonMs, tick), held);
  changing.sweep();
  // The next server may hear that nothing is lost only if no contents are left behind.
  commits?.commit();
  survivors?.end();
  close();
  held.settle(server);
  server.unbind();
  segment.close();
}

main().then(
  () => process.exit(0),
  async (error: unknown) => {
    await bootFailed(explained(error));
  },
);

/** What a user can do about an image that cannot be served. */
function explained(error: unknown): unknown {
  if (isDvkError(error, 'ENOMEM')) {
    const remedy = 'give the container more with `arena:` in the spec';
    return new Error(`the arena has no room for a file system server; ${remedy}`, { cause: error });
  }
  if (!(error instanceof FsError) || error.errno !== -ERRNO.EUCLEAN) return error;
  return new Error(`${error.message}; run e2fsck -f on the image`, { cause: error });
}
