/**
 * The file system server: serves an ext4 image to the processes of its container.
 *
 * Started by the node daemon; see `boot`. The block cache and the staging buffer lie in the
 * container's arena, so that data reaches a client of this node by one memcpy, and the proxy takes
 * it for other nodes from where it is.
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
import { TRANSFER_BYTES_MAX } from '../../vos/protocol/fs.ts';
import { serve } from '../../vos/server.ts';
import type { FsServiceSpec } from '../../vos/spec.ts';
import { BlockCache } from './cache.ts';
import { openImage } from './device.ts';
import { ERRNO, FsError } from './errors.ts';
import { Volume } from './ext4/volume.ts';
import { recover } from './journal/recovered-device.ts';
import { createHandlers, type ClientMemory } from './handlers.ts';

/** A quarter of the default arena. */
const CACHE_BYTES = 64 * 1024 * 1024;
/**
 * A copy to another node ends in this time or not at all; the client has its own, longer deadline.
 */
const COPY_TIMEOUT_MS = 5000;

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

async function main(): Promise<void> {
  const { config, ready } = await boot<ServiceConfig<FsServiceSpec>>({ blocking: true });
  const { service } = config;
  const image = openImage(service.image);
  const { device, transactions } = recover(image, rawCrc32c);
  const segment = Segment.open(config.segment);
  const server = segment.bind({ slot: service.slot, level: 'server', name: service.name });
  const cache = new BlockCache(device, server.allocate(CACHE_BYTES));
  const volume = Volume.open(device, cache, { crc32c: rawCrc32c });
  const handlers = createHandlers(volume, new GrantedMemory(server));
  await ready({
    endpoint: server.endpoint,
    image: service.image,
    bytes: device.bytes,
    replayed: transactions,
  });
  serve(server, handlers);
  server.unbind();
  segment.close();
  image.close();
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
