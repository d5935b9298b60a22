/**
 * The FUSE gateway's program: mounts the tree of a file system server, which may be on another
 * node.
 *
 * Started by the node daemon; see `boot`. The mount stays while the server is away, and works again
 * when it is back.
 */
import { answerCounters, boot, bootFailed, logLine, type ServiceConfig } from '../../dvk/boot.ts';
import { fuseDevice, Segment, systemClock } from '../../dvk/index.ts';
import { FsClient } from '../client/fs-client.ts';
import { MOUNT_MEMORY } from '../spec-fs.ts';
import type { FuseServiceSpec } from '../spec.ts';
import { mountFuse } from './mount.ts';
import { mountCounters } from './mount-counters.ts';

async function main(): Promise<void> {
  const { config, ready, stopping } = await boot<ServiceConfig<FuseServiceSpec>>();
  const { service } = config;
  const segment = Segment.open(config.segment);
  const slot = service.slot === null ? {} : { slot: service.slot };
  const client = new FsClient(segment, {
    ...slot,
    serverSlot: service.serverSlot,
    name: service.name,
    clock: systemClock,
    coherence: service.coherence,
  });
  const mount = await mountFuse(
    {
      device: fuseDevice(),
      service: client,
      clock: systemClock,
      trust: client.trust,
      log: logLine,
      allocate: service.readOnly ? undefined : (bytes) => client.allocateMemory(bytes),
    },
    {
      mountpoint: service.mount,
      name: `${config.dvs}-${service.name}`,
      allowOther: service.allowOther,
      readOnly: service.readOnly,
      constant: service.constant,
      owner: service.owner,
      memory: { ...MOUNT_MEMORY, ...service.memory },
    },
  );
  answerCounters(() => mountCounters(mount));
  await ready({ mount: mount.mountpoint, readAheadKiB: mount.readAheadKiB });
  await Promise.race([stopping, mount.ended]);
  await mount.unmount();
  client.close();
  segment.close();
}

main().then(
  () => process.exit(0),
  async (error: unknown) => {
    await bootFailed(error);
  },
);
