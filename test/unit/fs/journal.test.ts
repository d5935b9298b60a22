// A volume whose machine stopped reads as if its journal had been replayed.
// Method: Linux fills an image while copies of it are taken; each copy is recovered here and by
// e2fsck, and the two must be the same byte for byte, but for the journal's own state.
import { copyFileSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openImage } from '../../../src/servers/fs/device.ts';
import { crc32c } from '../../../src/servers/fs/ext4/checksum.ts';
import { recover } from '../../../src/servers/fs/journal/recovered-device.ts';
import { type DirtyOptions, replayed, withDirtyImages } from '../../support/dirty-images.ts';
import { ROOT } from '../../support/fs-client.ts';
import { debugfs, mountObstacle, withDirectory, withMount } from '../../support/images.ts';
import { MemoryDevice } from '../../support/memory-device.ts';
import { compareTrees, openVolume } from '../../support/volumes.ts';

const COPIES = 4;
const SEED = 20261122;

interface Variant extends Partial<DirtyOptions> {
  name: string;
}

const variants: Variant[] = [
  { name: 'ext4', arguments: ['-b', '4096'] },
  { name: 'blocks of 1 KiB and a small log', arguments: ['-b', '1024', '-J', 'size=1'] },
  { name: 'data in the journal', arguments: ['-b', '1024'], mount: 'data=journal' },
  {
    name: 'data in the journal, blocks of 4 KiB',
    arguments: ['-b', '4096'],
    mount: 'data=journal',
  },
  { name: 'no 64-bit numbers', arguments: ['-O', '^64bit', '-b', '1024'] },
  { name: 'no checksums', arguments: ['-O', '^metadata_csum,^64bit', '-b', '1024'] },
  {
    name: 'checksums of transactions',
    arguments: ['-O', '^metadata_csum', '-b', '1024'],
    mount: 'journal_checksum,data=journal',
  },
  {
    name: 'commits that nobody waits for',
    mount: 'journal_async_commit,data=writeback',
    arguments: ['-b', '1024'],
  },
  { name: 'ext3', type: 'ext3', arguments: ['-b', '1024'], mount: 'data=journal' },
];

/** Which bytes of a replayed image need not be the same: what says that it was replayed. */
function blankState(content: Uint8Array, image: string): Uint8Array {
  const blank = content.slice();
  // Times of mounts and checks, the state, the number of writes, the error log, the checksum.
  for (const [at, bytes] of [
    [0x2c, 8],
    [0x34, 2],
    [0x3a, 2],
    [0x40, 4],
    [0x178, 8],
    [0x194, 0x6c],
    [0x274, 12],
    [0x3fc, 4],
  ] as const) {
    blank.fill(0, 1024 + at, 1024 + at + bytes);
  }
  const blockBytes = 1024 << new DataView(blank.buffer).getUint32(1024 + 0x18, true);
  const [journal] = debugfs(image, 'bmap <8> 0').split('\n');
  blank.fill(0, Number(journal) * blockBytes, Number(journal) * blockBytes + 1024);
  return blank;
}

function wholeOf(image: string): { content: Uint8Array; blocks: number } {
  const device = openImage(image);
  try {
    const { device: recovered, blocks } = recover(device, crc32c);
    const content = new Uint8Array(recovered.bytes);
    for (let at = 0; at < content.length; at += 1 << 20) {
      const part = content.subarray(at, at + (1 << 20));
      recovered.read(part, at, part.length);
    }
    return { content, blocks };
  } finally {
    device.close();
  }
}

/** The first byte that differs, -1 for none. */
function firstDifference(actual: Uint8Array, expected: Uint8Array): number {
  if (Buffer.compare(actual, expected) === 0) return -1;
  return actual.findIndex((byte, index) => byte !== expected[index]);
}

const obstacle = mountObstacle();

describe.skipIf(obstacle !== undefined)(`a journal to be replayed ${obstacle ?? ''}`, () => {
  it.each(variants)(
    'is read as e2fsck replays it: $name',
    (variant) => {
      withDirectory((directory) => {
        const replays: number[] = [];
        const options = { copies: COPIES, seed: SEED, ...variant };
        withDirtyImages(directory, options, (image, step) => {
          const mine = wholeOf(image);
          const theirs = replayed(image);
          const expected = blankState(new Uint8Array(readFileSync(theirs)), theirs);
          const actual = blankState(mine.content, theirs);
          expect(firstDifference(actual, expected), `of copy ${String(step)}`).toBe(-1);
          replays.push(mine.blocks);
        });
        expect(Math.max(...replays)).toBeGreaterThan(0);
      });
    },
    120_000,
  );

  it('shows what was synced, as Linux shows it after its own recovery', () => {
    withDirectory((directory) => {
      withDirtyImages(directory, { copies: 4, seed: SEED + 1 }, (image, step) => {
        const linux = `${image}.linux`;
        copyFileSync(image, linux);
        // Once to replay, and once more so that nothing is written while trees are compared.
        withMount(linux, 'user_xattr', () => undefined);
        const device = openImage(image);
        try {
          const client = openVolume(recover(device, crc32c).device);
          expect(
            client.readAll(client.lookup(client.getattr(ROOT), Buffer.from('steps'))).toString(),
          ).toBe(String(step));
          const { files, differences } = withMount(linux, 'ro,noatime', (root) =>
            compareTrees(client, root, { same: true }),
          );
          expect(differences).toEqual([]);
          expect(files).toBeGreaterThan(2);
        } finally {
          device.close();
        }
      });
    });
  }, 120_000);

  it('says so when it cannot be replayed', () => {
    withDirectory((directory) => {
      withDirtyImages(directory, { copies: 1, seed: SEED, arguments: ['-b', '1024'] }, (image) => {
        const content = new Uint8Array(readFileSync(image));
        const at = Number(debugfs(image, 'bmap <8> 0').split('\n')[0]) * 1024;
        const withJournal = (change: (journal: DataView) => void): (() => unknown) => {
          const changed = content.slice();
          change(new DataView(changed.buffer, at));
          return () => recover(new MemoryDevice(changed), crc32c);
        };
        expect(
          withJournal((journal) => {
            journal.setUint32(0, 1);
          }),
        ).toThrow('EUCLEAN: journal: the magic number is 0x1, not 0xc03b3998');
        expect(
          withJournal((journal) => {
            journal.setUint32(4, 1);
          }),
        ).toThrow('EUCLEAN: journal: its first block is of type 1, not a superblock');
        expect(
          withJournal((journal) => {
            journal.setUint32(0x28, 0x100);
          }),
        ).toThrow('EOPNOTSUPP: the journal needs unknown features 0x100');
        expect(
          withJournal((journal) => {
            journal.setUint32(0x1c, 5);
          }),
        ).toThrow(/^EUCLEAN: journal: the checksum is/);
      });
    });
  });
});
