/** The file system servers of a DVS that runs, and clients of theirs for one question. */
import { isDvkError, Segment, systemClock } from '../dvk/index.ts';
import { FsClient } from '../vos/client/fs-client.ts';
import type { ContainerSpec, DvsSpec, FsServiceSpec } from '../vos/spec.ts';
import type { DvsPaths } from './runtime.ts';

const OUTAGE_MS = 2000;

export interface Served {
  readonly container: ContainerSpec;
  readonly service: FsServiceSpec;
}

export function serversOf({ containers }: DvsSpec): Served[] {
  return containers.flatMap((container) =>
    container.services.flatMap((service) =>
      service.kind === 'fs' ? [{ container, service }] : [],
    ),
  );
}

/** Runs `work` with a client of a server; undefined when the server, or its node, is down. */
export async function asking<T>(
  paths: DvsPaths,
  { container, service }: Served,
  work: (client: FsClient, segment: Segment) => Promise<T>,
): Promise<T | undefined> {
  let segment: Segment;
  try {
    segment = Segment.open(paths.node(service.node).segment(container.name));
  } catch (error) {
    if (isDvkError(error)) return undefined;
    throw error;
  }
  const client = new FsClient(segment, {
    serverSlot: service.slot,
    name: 'dvk-fs',
    clock: systemClock,
    channels: 1,
    outageMs: OUTAGE_MS,
  });
  try {
    return await work(client, segment);
  } catch (error) {
    if (isDvkError(error, 'EIO')) return undefined;
    throw error;
  } finally {
    client.close();
    segment.close();
  }
}
