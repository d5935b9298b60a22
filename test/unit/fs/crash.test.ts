// What a crash leaves of a volume is a transaction, and none that was committed is lost.
// Method: random changes over a device that records them; images as crashes at flushes and in
// between may leave them. More of them: test/soak/fs-crash.test.ts.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openForWriting } from '../../../src/servers/fs/open.ts';
import { crashRegisters, crashTree } from '../../support/crash-check.ts';
import { RegisterWorld, makeRegisterImage } from '../../support/crash-registers.ts';
import { seeded } from '../../support/datagram-network.ts';
import { imageObstacle, mountObstacle, withDirectory } from '../../support/images.ts';
import { MemoryDevice } from '../../support/memory-device.ts';
import { RecordingDevice } from '../../support/recording-device.ts';

const SEED = 20261122;
/** How a commit block begins: the magic number, and its kind. */
const COMMIT_BLOCK = Buffer.from('c03b399800000002', 'hex');
const linux = mountObstacle() === undefined ? 20 : 0;

const variants = [
  { name: 'ext4', arguments: ['-b', '4096'] },
  { name: 'blocks of 1 KiB', arguments: ['-b', '1024', '-J', 'size=1'] },
  { name: 'no checksums', arguments: ['-b', '1024', '-O', '^metadata_csum,^64bit'] },
];

describe.skipIf(imageObstacle() !== undefined)('a crash', () => {
  it.each(variants)('leaves a transaction: $name', (variant) => {
    const options = { seed: SEED, changes: 400, e2fsck: 8, linux, arguments: variant.arguments };

    const { images, wrong } = crashRegisters({ ...options, points: 40 });

    expect(wrong).toEqual([]);
    expect(images).toBe(40);
  });

  it('cannot tear a commit block: nothing of an older log is where it comes', () => {
    withDirectory((directory) => {
      const image = makeRegisterImage(directory, ['-b', '4096']);
      const device = new RecordingDevice(new Uint8Array(readFileSync(image.path)));
      const memory = new Uint8Array(1 << 20);
      const writing = openForWriting(device, { memory, timeMs: () => 1e12 });
      const world = new RegisterWorld(image, writing, seeded(SEED));
      for (let i = 0; i < 300; i++) {
        world.step();
        world.commit();
      }
      writing.close();

      const before = new MemoryDevice(device.base.slice());
      const torn: number[] = [];
      let commits = 0;
      for (const event of device.events) {
        if (event === undefined) continue;
        const isCommit = Buffer.from(event.data.subarray(0, 8)).equals(COMMIT_BLOCK);
        const old = before.content.subarray(event.at, event.at + event.data.length);
        if (isCommit && old.some((byte) => byte !== 0)) torn.push(event.at);
        if (isCommit) commits++;
        before.write(event.data, event.at);
      }
      expect(commits).toBeGreaterThan(200);
      expect(torn).toEqual([]);
    });
  });

  it('leaves a tree as a transaction left it', { timeout: 120_000 }, () => {
    const options = { seed: SEED, changes: 300, e2fsck: 2, linux, points: 40 };

    const { images, wrong } = crashTree({ ...options, arguments: ['-b', '1024'] });

    expect(wrong).toEqual([]);
    expect(images).toBe(40);
  });

  it('leaves such a tree of inodes of 128 bytes, too', { timeout: 120_000 }, () => {
    const options = { seed: SEED, changes: 200, e2fsck: 4, linux: linux / 4, points: 20 };

    const { images, wrong } = crashTree({ ...options, arguments: ['-b', '1024', '-I', '128'] });

    expect(wrong).toEqual([]);
    expect(images).toBe(20);
  });
});
