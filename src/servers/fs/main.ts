/**
 * The file system server: serves an ext4 image to the processes of its container.
 *
 * Started by the node daemon; see `boot`. The block cache and the staging buffer lie in the
 * container's arena, so that data reaches a client of this node by one memcpy, and the proxy takes
 * it for other nodes from where it is.
 *
 * Changes are committed when a client syncs, every few seconds, and at the end.
 */
import { boot, bootFailed, type ServiceConfig } from '../../dvk/boot.ts';
import {
  crc32c,
  isDvkError,
  Segment,
  type Endpoint,
  type GrantId,
  type Process,
} from '../../dvk/index.ts';
import { TRANSFER_BYTES_MAX, type Timestamp } from '../../vos/protocol/fs.ts';
import { serve } from '../../vos/server.ts';
import type { FsServiceSpec } from '../../vos/spec.ts';
import { BlockCache } from './cache.ts';
import { ChangingHandlers } from './changing-handlers.ts';
import { openImage } from './device.ts';
import { ERRNO, FsError, isFsError } from './errors.ts';
import { Volume } from './ext4/volume.ts';
import { recover } from './journal/recovered-device.ts';
import { createHandlers, type ClientMemory } from './handlers.ts';
import { openForWriting } from './open.ts';

/** A quarter of the default arena. */
const CACHE_BYTES = 64 * 1024 * 1024;
/**
 * A copy to another node ends in this time or not at all; the client has its own, longer deadline.
 */
const COPY_TIMEOUT_MS = 5000;
/** What is not synced is committed after this time, as Linux's ext4 does. */
const COMMIT_MS = 5000;
const NS_PER_MS = 1_000_000n;
const NS_PER_SECOND = 1_000_000_000n;

/** The clients' memory by grants and vcopy, and a staging buffer in the arena. */
class GrantedMemory implements ClientMemory {
  readonly #server: Process;
  readonly #stage: Uint8Array;

  constructor(server: Process) {
    this.#server = server;
    this.#stage = server.allocate(TRANSFER_BYTES_MAX);
  }

  stage(bytes: number): Uint8Array {
    return this.#stage.subarray(0, bytes);
  }

  copyOut(client: number, grant: number, at: number, data: Uint8Array): void {
    const target = { endpoint: client as Endpoint, grant: grant as GrantId, at };
    attempt(() => this.#server.vcopySync(data, target, data.length, COPY_TIMEOUT_MS));
  }

  copyIn(client: number, grant: number, at: number, target: Uint8Array): void {
    const source = { endpoint: client as Endpoint, grant: grant as GrantId, at };
    attempt(() => this.#server.vcopySync(source, target, target.length, COPY_TIMEOUT_MS));
  }
}

/**
 * A copy that fails concerns one client only: it gets EFAULT for what it granted, EIO for a link
 * that is down.
 */
function attempt(copy: () => number): void {
  try {
    copy();
  } catch (error) {
    if (!isDvkError(error)) throw error;
    const lost = error.code === 'ENOTCONN' || error.code === 'ETIMEDOUT';
    throw new FsError(lost ? 'EIO' : 'EFAULT', error.message, { cause: error });
  }
}

/** CRC32C as ext4 has it: the register goes in and comes out without inversion. */
function rawCrc32c(data: Uint8Array, seed: number): number {
  return ~crc32c(data, ~seed >>> 0) >>> 0;
}

/** A volume as the server uses it. */
interface Opened {
  readonly volume: Volume;
  readonly bytes: number;
  readonly replayed: number;
  /** Returns when all changes will last. Throws FsError. */
  readonly commit: () => void;
  /** Begins to make them last, and returns at once. Throws FsError. */
  readonly begin: () => void;
  /** Leaves a volume that needs no recovery. Throws FsError. */
  readonly close: () => void;
}

function open(service: FsServiceSpec, memory: Uint8Array, now: () => Timestamp): Opened {
  const { image, readOnly } = service;
  return readOnly ? openReadOnly(image, memory) : openWritable(service, memory, now);
}

function openReadOnly(path: string, memory: Uint8Array): Opened {
  const image = openImage(path);
  const { device, transactions } = recover(image, rawCrc32c);
  const volume = Volume.open(device, new BlockCache(device, memory), { crc32c: rawCrc32c });
  const close = (): void => {
    image.close();
  };
  return {
    volume,
    bytes: device.bytes,
    replayed: transactions,
    commit: nothing,
    begin: nothing,
    close,
  };
}

function nothing(): void {
  // An image that is not written to has nothing to commit.
}

function openWritable(service: FsServiceSpec, memory: Uint8Array, now: () => Timestamp): Opened {
  const image = openImage(service.image, 'write');
  const worker = { program: new URL('./journal/commit-worker.js', import.meta.url), image };
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
  });
  const failing = untilFailure();
  return {
    volume,
    bytes: image.bytes,
    replayed,
    commit: () => {
      failing(() => {
        changes.commit();
      });
    },
    begin: () => {
      failing(() => {
        changes.begin();
      });
    },
    close: () => {
      writing.close();
      image.close();
    },
  };
}

/**
 * Commits until one fails, with which all later ones fail: nobody who syncs may believe that all is
 * well.
 */
function untilFailure(): (commit: () => void) => void {
  let failure: FsError | undefined;
  return (commit) => {
    if (failure !== undefined) throw failure;
    try {
      commit();
    } catch (error) {
      if (isFsError(error)) failure = error;
      throw error;
    }
  };
}

/**
 * The time, each later than the one before: by it clients see that a file has changed, so two
 * changes may not have the same. When the clock of the machine is put back, so is this one.
 */
function timestamps(): () => Timestamp {
  let lastNs = 0n;
  return () => {
    const nowNs = BigInt(Date.now()) * NS_PER_MS;
    const isJump = lastNs - nowNs > NS_PER_SECOND;
    lastNs = nowNs > lastNs || isJump ? nowNs : lastNs + 1n;
    const seconds = Number(lastNs / NS_PER_SECOND);
    return { seconds, nanoseconds: Number(lastNs % NS_PER_SECOND) };
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

async function main(): Promise<void> {
  const { config, ready } = await boot<ServiceConfig<FsServiceSpec>>({ blocking: true });
  const { service } = config;
  const segment = Segment.open(config.segment);
  const server = segment.bind({ slot: service.slot, level: 'server', name: service.name });
  const now = timestamps();
  const cache = server.allocate(CACHE_BYTES);
  const { volume, bytes, replayed, commit, begin, close } = open(service, cache, now);
  const memory = new GrantedMemory(server);
  const changing = new ChangingHandlers(volume, memory, {
    writer: volume.readOnly ? undefined : volume,
    commit,
    isAlive: (client) => segment.isBound(client as Endpoint),
    now,
  });
  const handlers = new Map([...createHandlers(volume, memory), ...changing.table()]);
  await ready({
    endpoint: server.endpoint,
    image: service.image,
    bytes,
    replayed,
    readOnly: volume.readOnly,
  });
  serve(server, handlers, {
    everyMs: COMMIT_MS,
    run: () => {
      changing.sweep();
      quietly(begin);
    },
  });
  close();
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
  if (!(error instanceof FsError) || error.errno !== -ERRNO.EUCLEAN) return error;
  return new Error(`${error.message}; run e2fsck -f on the image`, { cause: error });
}
