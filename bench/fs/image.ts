/** The file that the fs bench reads, and an ext4 image that holds it. */
import { execFile } from 'node:child_process';
import { createCipheriv, createHash, type Hash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

export const FILE_NAME = 'file.bin';

const BLOCK_BYTES = 2 ** 20;
const KEY = Buffer.alloc(16, 'dvk');
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
const run = promisify(execFile);

export interface Subject {
  /** The file on the host. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly image: string;
}

/** Room that `makeSubject` takes: the file, and the image with what ext4 needs for itself. */
export function roomFor(bytes: number): number {
  return bytes + imageBytes(bytes);
}

function imageBytes(bytes: number): number {
  return Math.ceil((bytes * 1.1) / BLOCK_BYTES + 64) * BLOCK_BYTES;
}

/** Writes pseudo-random bytes, the same at every run; returns their hash. */
async function writeRandom(path: string, bytes: number): Promise<string> {
  const cipher = createCipheriv('aes-128-ctr', KEY, Buffer.alloc(16));
  const zeros = Buffer.alloc(BLOCK_BYTES);
  const hash = createHash('sha256');
  const file = await open(path, 'wx');
  try {
    for (let at = 0; at < bytes; at += BLOCK_BYTES) {
      const block = cipher.update(zeros);
      hash.update(block);
      await file.write(block);
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

/** Makes the file and the image in `directory`; `bytes` is a multiple of 1 MiB. */
export async function makeSubject(directory: string, bytes: number): Promise<Subject> {
  const tree = join(directory, 'tree');
  const image = join(directory, 'image.ext4');
  await mkdir(tree);
  const path = join(tree, FILE_NAME);
  const sha256 = await writeRandom(path, bytes);
  const size = `${String(imageBytes(bytes) / BLOCK_BYTES)}M`;
  await run(findProgram('mke2fs'), ['-q', '-t', 'ext4', '-d', tree, image, size]);
  return { path, bytes, sha256, image };
}

/** The path of a system program, also for a user whose PATH lacks the system's folders. */
function findProgram(name: string): string {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...SYSTEM_FOLDERS];
  const found = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${name} is missing; install e2fsprogs`);
  return found;
}

/** The SHA-256 of what reading `path` gives. */
export async function hashFile(path: string): Promise<string> {
  const hash: Hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: BLOCK_BYTES }), hash);
  return hash.digest('hex');
}
