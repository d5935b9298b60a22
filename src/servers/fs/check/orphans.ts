/** The list of orphans: the chain from the superblock, and the file that has more of them. */
import { Contents } from '../ext4/contents.ts';
import { wordBytes } from '../ext4/checksum.ts';
import { highHalf, u32 } from '../ext4/layout.ts';
import { damaged } from '../errors.ts';
import type { CheckContext } from './context.ts';

const TAIL_BYTES = 8;
const TAIL_MAGIC = 0x0b10ca04;
const DELETED_AT = 0x14;

/** Notes who is on it. */
export function checkOrphans(context: CheckContext): void {
  const { findings } = context;
  findings.attempt('orphans', {}, () => {
    readChain(context);
  });
  findings.attempt('orphans', {}, () => {
    readFile(context);
  });
}

function readChain(context: CheckContext): void {
  const { disk, orphans } = context;
  for (let number = disk.superblock.firstOrphan; number !== 0;) {
    const place = take(context, number);
    number = u32(place, DELETED_AT);
    if (orphans.has(number)) throw damaged`the list of orphans is a circle at inode ${number}`;
  }
}

/** Returns the inode as it lies on the disk. */
function take(context: CheckContext, number: number): Uint8Array {
  const { firstInode, inodes } = context.disk.superblock;
  const raw = number >= firstInode && number <= inodes ? context.raw(number) : undefined;
  if (raw === undefined) throw damaged`the list of orphans names inode ${number}`;
  context.orphans.add(number);
  return raw;
}

function readFile(context: CheckContext): void {
  const { disk, plain } = context;
  const { orphanFile } = disk.superblock;
  const raw = orphanFile === 0 ? undefined : context.raw(orphanFile);
  if (raw === undefined) return;
  const file = context.parse(orphanFile, raw);
  const contents = new Contents(plain);
  for (let logical = 0; logical < Math.floor(file.size / disk.blockBytes); logical++) {
    const block = contents.block(file, logical);
    const bytes = plain.block(block, orphanFile).slice();
    const tailAt = bytes.length - TAIL_BYTES;
    const low = disk.crc32c(wordBytes(block), file.checksumSeed);
    const seed = disk.crc32c(wordBytes(highHalf(block)), low);
    const wrong = disk.checksums && disk.crc32c(bytes.subarray(0, tailAt), seed);
    if (u32(bytes, tailAt) !== TAIL_MAGIC || (disk.checksums && wrong !== u32(bytes, tailAt + 4))) {
      throw damaged`the file of orphans: block ${logical} is damaged`;
    }
    for (let at = 0; at < tailAt; at += 4) {
      const number = u32(bytes, at);
      if (number !== 0) take(context, number);
    }
  }
}
