// What is below a volume fails: who commits is told, and nothing that was committed is lost.
// Method: a device in memory whose calls fail one by one, a file system of the host that is full,
// and random changes whose states are known.
import { appendFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Commits } from '../../../src/servers/fs/commits.ts';
import { openImage } from '../../../src/servers/fs/device.ts';
import { FsError, isFsError } from '../../../src/servers/fs/errors.ts';
import { openForWriting } from '../../../src/servers/fs/open.ts';
import {
  type RegisterImage,
  RegisterWorld,
  makeRegisterImage,
  wrongWith,
} from '../../support/crash-registers.ts';
import { seeded } from '../../support/datagram-network.ts';
import { imageObstacle, makeImage, run, withDirectory } from '../../support/images.ts';
import { MemoryDevice } from '../../support/memory-device.ts';

const SEED = 20261122;
const BLOCK_BYTES = 1024;
const OPTIONS = { memory: new Uint8Array(1 << 20), timeMs: (): number => 1e12 };

/** A world on an image that is made once. */
function world(use: (image: RegisterImage, content: Uint8Array) => void): void {
  withDirectory((directory) => {
    const image = makeRegisterImage(directory, ['-b', String(BLOCK_BYTES)]);
    use(image, new Uint8Array(readFileSync(image.path)));
  });
}

/** Changes and commits until something fails, and returns that; undefined if nothing does. */
function runUntilFailure(registers: RegisterWorld, steps: number): FsError | undefined {
  try {
    for (let step = 1; step <= steps; step++) {
      registers.step();
      if (step % 10 === 0) registers.commit();
    }
    return undefined;
  } catch (error) {
    if (isFsError(error)) return error;
    throw error;
  }
}

function problems(image: RegisterImage, content: Uint8Array, states: RegisterWorld['states']) {
  const recovered = new MemoryDevice(content.slice());
  openForWriting(recovered, OPTIONS).close();
  const read = (block: number): Uint8Array =>
    recovered.content.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
  return wrongWith(image, read, states);
}

describe.skipIf(imageObstacle() !== undefined)('a device that fails', () => {
  it('ends changes with EROFS after EIO, with all that was committed', () => {
    world((image, content) => {
      const ends = new Set<string>();
      for (let failing = 0; failing < 60; failing++) {
        const device = new MemoryDevice(content.slice());
        const writing = openForWriting(device, OPTIONS);
        const registers = new RegisterWorld(image, writing, seeded(SEED + failing));
        let calls = 0;
        device.before = () => {
          if (calls++ >= failing) throw new FsError('EIO', `call ${String(failing)}`);
        };

        const failure = runUntilFailure(registers, 200);

        expect(failure?.code).toBe('EIO');
        const { committed } = writing.changes;
        const attempt = (): void => {
          writing.changes.change(() => undefined);
        };
        // Contents that cannot be written are no reason to take no changes.
        if (writing.changes.failure === undefined) expect(attempt).not.toThrow();
        else expect(attempt).toThrow(/^EROFS/);
        ends.add(writing.changes.failure === undefined ? 'goes on' : 'ends');
        expect(problems(image, device.content, registers.states.slice(committed))).toEqual([]);
      }
      expect([...ends].sort()).toEqual(['ends', 'goes on']);
    });
  });

  it('goes on after ENOSPC when there is room again, and loses nothing', () => {
    world((image, content) => {
      for (let failing = 0; failing < 40; failing++) {
        const device = new MemoryDevice(content.slice());
        const writing = openForWriting(device, OPTIONS);
        const registers = new RegisterWorld(image, writing, seeded(SEED + failing));
        let calls = 0;
        let refused = 0;
        device.before = (call) => {
          if (call === 'flush' || calls++ < failing || refused >= 3) return;
          refused++;
          throw new FsError('ENOSPC', `call ${String(failing)}`);
        };

        for (let round = 0; round < 20; round++) {
          const failure = runUntilFailure(registers, 40);
          if (failure !== undefined) expect(failure.code).toBe('ENOSPC');
        }
        writing.close();

        expect(refused).toBe(3);
        expect(problems(image, device.content, registers.states.slice(-1))).toEqual([]);
      }
    });
  });

  it('tells of contents that cannot be written at each commit, and takes them when it can', () => {
    world((image, content) => {
      const device = new MemoryDevice(content.slice());
      const { changes, close } = openForWriting(device, OPTIONS);
      const at = (image.pool[0] ?? 0) * BLOCK_BYTES;
      device.before = (call, from) => {
        if (call === 'write' && from === at) throw new FsError('EIO', 'a bad sector');
      };
      changes.change(() => {
        changes.writeData(at, new Uint8Array(BLOCK_BYTES).fill(7));
        changes.modify(image.registers[0] ?? 0)[0] = 7;
      });
      const commits = new Commits(changes);
      const commit = (): void => {
        commits.commit();
      };
      expect(commit).toThrow(/^EIO: a bad sector/);
      expect(commit).toThrow(/^EIO: a bad sector/);
      expect(changes.lost).toBeUndefined();
      expect(changes.committed).toBe(changes.running - 1);

      device.before = () => undefined;
      commit();

      expect(device.content[at]).toBe(7);
      close();
    });
  });

  it('tells once of contents that a flush has lost', () => {
    world((image, content) => {
      const device = new MemoryDevice(content.slice());
      const { changes } = openForWriting(device, OPTIONS);
      changes.change(() => {
        changes.writeData((image.pool[0] ?? 0) * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES));
      });
      device.before = (call) => {
        if (call === 'flush') throw new FsError('EIO', 'lost');
      };
      expect(() => {
        changes.commit();
      }).toThrow('EIO: lost');
      expect(changes.lost?.message).toBe('EIO: lost');
      device.before = () => undefined;
      expect(() => {
        changes.commit();
        changes.change(() => undefined);
      }).not.toThrow();
    });
  });

  it('takes what a full file system of the host could not hold when there is room', ({ skip }) => {
    if (process.getuid?.() !== 0) skip('mounting takes root');
    withDirectory((directory) => {
      const host = join(directory, 'host');
      run('mkdir', host);
      run('mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', host);
      try {
        // Sparse, so that it grows as it is written.
        const path = makeImage(host, { bytes: 16 << 20, arguments: ['-b', '1024'] });
        const filler = join(host, 'filler');
        writeFileSync(filler, '');
        const device = openImage(path, 'write');
        const { changes, close } = openForWriting(device, OPTIONS);
        fillUp(filler);
        const contents = new Uint8Array(200 * BLOCK_BYTES).fill(5);
        changes.change(() => {
          changes.writeData(10_000 * BLOCK_BYTES, contents);
        });
        expect(() => {
          changes.commit();
        }).toThrow(/^ENOSPC/);

        truncateSync(filler, 0);
        changes.commit();

        const found = new Uint8Array(contents.length);
        device.read(found, 10_000 * BLOCK_BYTES, found.length);
        expect(found).toEqual(contents);
        close();
        device.close();
        run('e2fsck', '-fn', path);
      } finally {
        run('umount', '-l', host);
      }
    });
  });
});

/** Writes until the file system is full. */
function fillUp(path: string): void {
  try {
    for (;;) appendFileSync(path, new Uint8Array(4096));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
