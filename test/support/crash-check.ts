/**
 * Crashes a volume under random changes, and checks what each crash leaves: by recovery here, by
 * e2fsck, and by Linux.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32c } from '../../src/servers/fs/ext4/checksum.ts';
import { recover } from '../../src/servers/fs/journal/recovered-device.ts';
import { openForWriting } from '../../src/servers/fs/open.ts';
import { RegisterWorld, makeRegisterImage, wrongWith } from './crash-registers.ts';
import { seeded } from './datagram-network.ts';
import { run, withDirectory, withMount } from './images.ts';
import { MemoryDevice } from './memory-device.ts';
import { RecordingDevice } from './recording-device.ts';

export interface CrashOptions {
  seed: number;
  /** Of mke2fs. */
  arguments: readonly string[];
  changes: number;
  /** How many points; random ones, or every barrier. */
  points: number | 'barriers';
  /** Of the images, one in so many is given to e2fsck, and to Linux. */
  e2fsck: number;
  linux: number;
}

/** Returns what was wrong, a line each, and how many images were checked. */
export function crashRegisters(options: CrashOptions): { images: number; wrong: string[] } {
  return withDirectory((directory) => {
    const random = seeded(options.seed);
    const image = makeRegisterImage(directory, options.arguments);
    const device = new RecordingDevice(new Uint8Array(readFileSync(image.path)));
    const memory = new Uint8Array(1 << 20);
    const writing = openForWriting(device, { memory, timeMs: () => 1e12 + device.events.length });
    const world = new RegisterWorld(image, writing, random);
    const start = device.events.length;
    /** The transaction that was committed for sure when so many events had happened. */
    const acknowledged: { event: number; transaction: number }[] = [];
    const told = (): void => {
      acknowledged.push({
        event: device.events.length,
        transaction: writing.changes.committed,
      });
    };
    told();
    for (let step = 0; step < options.changes; step++) {
      world.step();
      if (random() < 0.1) {
        world.commit();
        told();
      }
    }
    writing.close();
    const wrong: string[] = [];
    let images = 0;
    const { points } = options;
    const chosen =
      points === 'barriers'
        ? device.barriers().filter((point) => point >= start)
        : Array.from({ length: points }, () =>
            Math.floor(start + random() * (device.events.length - start + 1)),
          );
    device.crashes(chosen, random, (content, point) => {
      images++;
      const least = acknowledged.findLast(({ event }) => event <= point)?.transaction ?? 1;
      const states = world.states.slice(least);
      const complain = (who: string, problems: readonly string[]): void => {
        for (const problem of problems) wrong.push(`event ${String(point)}: ${who}: ${problem}`);
      };
      const byContent = (found: Uint8Array) => (block: number) =>
        found.subarray(block * image.blockBytes, (block + 1) * image.blockBytes);
      try {
        const recovered = recover(new MemoryDevice(content), crc32c).device;
        const read = (block: number): Uint8Array => {
          const bytes = new Uint8Array(image.blockBytes);
          recovered.read(bytes, block * bytes.length, bytes.length);
          return bytes;
        };
        complain('reads', wrongWith(image, read, states));
        const ours = new MemoryDevice(content.slice());
        openForWriting(ours, { memory, timeMs: () => 1e12 }).close();
        complain('replay', wrongWith(image, byContent(ours.content), states));
        if (images % options.e2fsck === 0) {
          const path = join(directory, 'crashed');
          writeFileSync(path, content);
          run('e2fsck', '-y', '-E', 'journal_only', path);
          run('e2fsck', '-fn', path);
          complain('e2fsck', wrongWith(image, byContent(readFileSync(path)), states));
          writeFileSync(path, ours.content);
          run('e2fsck', '-fn', path);
        }
        if (images % options.linux === 0) {
          const path = join(directory, 'mounted');
          writeFileSync(path, content);
          withMount(path, 'user_xattr', () => undefined);
          complain('Linux', wrongWith(image, byContent(readFileSync(path)), states));
        }
      } catch (error) {
        complain('fails', [String(error)]);
      }
    });
    return { images, wrong };
  });
}
