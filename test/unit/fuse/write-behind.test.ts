// Writes that are answered before they have arrived: when, in which order, what waits for them, and
// who is told of those that failed. The file service refuses what would get past a claim.
import { beforeEach, describe, expect, it } from 'vitest';
import { CLAIM_TRUSTED_MS, CreateFlag, WriteFlag } from '../../../src/vos/protocol/fs-change.ts';
import { PIECES_MAX, type Piece } from '../../../src/vos/protocol/fs-pieces.ts';
import type { FileId, FilePosition, Written } from '../../../src/vos/client/file-service.ts';
import type { FileAttributes } from '../../../src/vos/protocol/fs.ts';
import { errnoOf } from '../../../src/vos/fuse/io-errors.ts';
import { WriteBehind, type Begun } from '../../../src/vos/fuse/write-behind.ts';
import { MemoryFiles, S_IFREG } from '../../support/memory-files.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const OWNER = { uid: 0, gid: 0 };
const ROOT = { inode: 2, generation: 0 };
const ENOSPC = 28;
const HANDLE = 1n;
const OTHER_HANDLE = 2n;

/** Files whose writes wait until they are let go. */
class SlowFiles extends MemoryFiles {
  readonly held: (() => void)[] = [];
  readonly sizes: number[] = [];
  /** How long those were that came with one call. */
  readonly pieces: number[][] = [];
  isSlow = false;

  override async writePieces(
    at: FileId,
    pieces: readonly Piece[],
    flags: number,
  ): Promise<Written> {
    this.pieces.push(pieces.map(({ data }) => data.length));
    return super.writePieces(at, pieces, flags);
  }

  override async write(at: FilePosition, data: Uint8Array, flags: number): Promise<Written> {
    const own = data.slice();
    this.sizes.push(own.length);
    if (this.isSlow) {
      await new Promise<void>((resolve) => {
        this.held.push(resolve);
      });
    }
    return super.write(at, own, flags);
  }

  letGo(count: number = this.held.length): void {
    for (const resolve of this.held.splice(0, count)) resolve();
  }
}

let files: SlowFiles;
let clock: ManualClock;
let writes: WriteBehind;
let file: FileAttributes;
let next: number;

async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((done) => setImmediate(done));
}

function write(bytes: number, at: number = next, flags = 0): Begun {
  next = at + bytes;
  const data = Uint8Array.from({ length: bytes }, (_, i) => (at + i) % 251);
  const begun = writes.begin(file, { offset: at, data, flags, owner: OWNER });
  // The buffer of a request is used again.
  data.fill(0xff);
  return begun;
}

/** A write of equal bytes. */
function fill(value: number, at: number, bytes: number): Begun {
  const data = new Uint8Array(bytes).fill(value);
  return writes.begin(file, { offset: at, data, flags: 0, owner: OWNER });
}

function contents(): Uint8Array {
  const { attributes, read } = files.files.get(file.inode) ?? {};
  return (read?.(0, attributes?.size ?? 0) as Uint8Array | undefined) ?? new Uint8Array(0);
}

function expectContents(bytes: number): void {
  expect(contents()).toEqual(Uint8Array.from({ length: bytes }, (_, i) => i % 251));
}

/** Three writes of a row: from then on the contents are claimed. */
async function beginRow(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    const { early, done } = write(100);
    expect(early).toBe(false);
    await done;
  }
  expect(files.claims.has(file.inode)).toBe(true);
}

beforeEach(async () => {
  files = new SlowFiles();
  files.grantsClaims = true;
  clock = new ManualClock();
  writes = new WriteBehind(files, clock, errnoOf);
  const made = { ...OWNER, mode: S_IFREG | 0o644, umask: 0 };
  file = await files.create({ parent: ROOT, name: Buffer.from('f') }, made, CreateFlag.HOLD);
  writes.opened(file);
  next = 0;
});

describe('a row of writes', () => {
  it('is answered early after its claim was granted, and arrives in order', async () => {
    await beginRow();
    files.isSlow = true;
    const begun = [write(100), write(100), write(100), write(100)];
    expect(begun.map(({ early }) => early)).toEqual([true, true, true, true]);
    // Two are under way; what comes then is gathered.
    expect(files.held.length).toBe(2);
    files.isSlow = false;
    files.letGo();
    await Promise.all(begun.map(async ({ done }) => done));
    expect(files.sizes).toEqual([100, 100, 100, 100, 100, 200]);
    expectContents(700);
  });

  it('is not answered early where claims are refused', async () => {
    files.grantsClaims = false;
    for (let i = 0; i < 9; i++) {
      const { early, done } = write(100);
      expect(early).toBe(false);
      expect(await done).toBe(100);
    }
    clock.advance(1);
    await turns();
    expect(files.claims.size).toBe(0);
    expectContents(900);
  });

  it('has no more than 4 MiB that have not arrived', async () => {
    await beginRow();
    files.isSlow = true;
    let early = 0;
    let begun = write(2 ** 18);
    for (; begun.early; begun = write(2 ** 18)) early++;
    expect(early).toBe(16);
    files.isSlow = false;
    files.letGo();
    expect(await begun.done).toBe(2 ** 18);
  });

  it('answers a write for which there was no room when enough has arrived', async () => {
    await beginRow();
    files.isSlow = true;
    const begun = Array.from({ length: 18 }, () => write(2 ** 18));
    const [late, later] = begun.slice(16);
    const answers: string[] = [];
    void late?.soon?.then(() => answers.push('late'));
    void later?.soon?.then(() => answers.push('later'));
    await turns();
    expect([late?.early, answers]).toEqual([false, []]);
    files.letGo(1);
    await turns();
    expect(answers).toEqual(['late']);
    const mark = writes.arrived;
    files.letGo(1);
    await turns();
    expect(answers).toEqual(['late', 'later']);
    files.isSlow = false;
    files.letGo();
    await Promise.all(begun.map(async ({ done }) => done));
    expect(writes.arrived).toBe(mark + 17);
    const right = Uint8Array.from({ length: 300 + 18 * 2 ** 18 }, (_, i) => i % 251);
    expect(Buffer.compare(contents(), right)).toBe(0);
  });

  it('answers none so while somebody wants the file, or after a failure', async () => {
    await beginRow();
    files.isSlow = true;
    const begun = Array.from({ length: 17 }, () => write(2 ** 18));
    let isAnswered = false;
    void begun[16]?.soon?.then(() => (isAnswered = true));
    const settled = writes.settle(file);
    files.letGo(1);
    await turns();
    expect(isAnswered).toBe(false);
    files.letGo();
    await settled;
    expect([await begun[16]?.done, isAnswered]).toEqual([2 ** 18, false]);
    files.isSlow = false;
    next = 0;
    await beginRow();
    files.isSlow = true;
    const more = Array.from({ length: 17 }, () => write(2 ** 18));
    void more[16]?.soon?.then(() => (isAnswered = true));
    files.failing.set('write', 'EIO');
    files.letGo(1);
    await turns();
    expect(isAnswered).toBe(false);
    files.letGo();
    await expect(more[16]?.done).rejects.toMatchObject({ code: 'EIO' });
  });

  it('goes on when a write is somewhere else: those come as pieces, after all others', async () => {
    await beginRow();
    files.isSlow = true;
    write(100);
    write(100);
    const over = [fill(1, 50, 250), fill(2, 80, 30), fill(3, 300, 10), fill(4, 310, 10)];
    expect(over.map(({ early }) => early)).toEqual([true, true, true, true]);
    files.letGo(1);
    await turns();
    expect(files.sizes.length).toBe(5);
    files.isSlow = false;
    files.letGo();
    await Promise.all(over.map(async ({ done }) => done));
    expect(files.pieces).toEqual([[250, 30, 20]]);
    expect(files.claims.has(file.inode)).toBe(true);
    const right = Uint8Array.from({ length: 500 }, (_, i) => i % 251);
    right.fill(1, 50, 300).fill(2, 80, 110).fill(3, 300, 310).fill(4, 310, 320);
    expect(contents()).toEqual(right);
  });

  it('waits for all others when there are more pieces than go into one call', async () => {
    await beginRow();
    files.isSlow = true;
    write(100);
    let begun = fill(1, 0, 1);
    for (let i = 1; begun.early; i++) begun = fill(1, 2 * i, 1);
    files.isSlow = false;
    files.letGo();
    expect(await begun.done).toBe(1);
    expect(files.pieces).toEqual([Array(PIECES_MAX).fill(1)]);
    expect(files.claims.size).toBe(0);
  });

  it('is over when something else was asked of the file', async () => {
    await write(100).done;
    await write(100).done;
    void writes.settle(file);
    await write(100).done;
    expect(files.claims.size).toBe(0);
  });

  it('never has appends in it', async () => {
    await beginRow();
    const { early, done } = write(100, next, WriteFlag.APPEND);
    expect(early).toBe(false);
    await done;
    expect(files.claims.size).toBe(0);
    expectContents(400);
  });

  it('gives the claim back after a moment without writes', async () => {
    await beginRow();
    clock.advance(5);
    await turns();
    expect(files.claims.size).toBe(0);
  });

  it('is not answered early once the claim may be over', async () => {
    await beginRow();
    files.isSlow = true;
    const last = write(100);
    clock.advance(CLAIM_TRUSTED_MS);
    const late = write(100);
    expect([last.early, late.early]).toEqual([true, false]);
    files.isSlow = false;
    files.letGo();
    await late.done;
    expectContents(500);
  });

  it('makes who wants the file wait until all has arrived', async () => {
    await beginRow();
    files.isSlow = true;
    const mark = writes.arrived;
    const { done } = write(100);
    expect(writes.isAhead(file.inode, mark)).toBe(true);
    let settled = false;
    const waits = Promise.resolve(writes.settle(file)).then(() => {
      settled = true;
    });
    await turns();
    expect(settled).toBe(false);
    files.isSlow = false;
    files.letGo();
    await waits;
    await done;
    expect(files.claims.size).toBe(0);
    expect(writes.isAhead(file.inode, mark)).toBe(true);
    expect(writes.isAhead(file.inode, writes.arrived)).toBe(false);
    await expect(files.getAttributes(file)).resolves.toMatchObject({ size: 400 });
  });
});

describe('a write that failed after it was answered', () => {
  it('is one like any other when it was answered late', async () => {
    await beginRow();
    files.isSlow = true;
    const begun = Array.from({ length: 17 }, () => write(2 ** 18));
    files.letGo(1);
    await begun[16]?.soon;
    files.failing.set('write', 'ENOSPC');
    files.letGo();
    await expect(Promise.all(begun.map(async ({ done }) => done))).resolves.toHaveLength(17);
    expect(writes.failureAtSync(file, HANDLE)).toBe(ENOSPC);
  });

  async function fail(): Promise<void> {
    await beginRow();
    files.failing.set('write', 'ENOSPC');
    const { early, done } = write(100);
    expect(early).toBe(true);
    await done;
    files.failing.delete('write');
    await writes.settle(file);
  }

  it('is told to the next write, to closes, and to one fsync of each open file', async () => {
    await fail();
    await expect(write(100).done).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(writes.failureAtClose(file, HANDLE)).toBe(ENOSPC);
    expect(writes.failureAtClose(file, HANDLE)).toBe(ENOSPC);
    expect(writes.failureAtSync(file, HANDLE)).toBe(ENOSPC);
    expect(writes.failureAtSync(file, HANDLE)).toBeUndefined();
    expect(writes.failureAtClose(file, HANDLE)).toBeUndefined();
    expect(writes.failureAtSync(file, OTHER_HANDLE)).toBe(ENOSPC);
  });

  it('is the last one that is answered early until the file was closed', async () => {
    await fail();
    await expect(write(100).done).rejects.toMatchObject({ code: 'ENOSPC' });
    next = 300;
    for (let i = 0; i < 6; i++) {
      const { early, done } = write(100);
      expect(early).toBe(false);
      await done;
    }
    expectContents(900);
    writes.released(file);
    expect(writes.size).toBe(0);
    writes.opened(file);
    expect(writes.failureAtSync(file, HANDLE)).toBeUndefined();
    for (let i = 0; i < 3; i++) await write(100).done;
    expect(write(100).early).toBe(true);
    await writes.settle(file);
  });

  it('is no part of a gathered write that came to less than was asked for', async () => {
    await beginRow();
    files.write = async () => Promise.resolve({ bytes: 1, attributes: file, claimed: true });
    await write(100).done;
    expect(writes.failureAtSync(file, HANDLE)).toBe(ENOSPC);
  });
});

it('remembers nothing of files that are closed, or were never opened', async () => {
  await beginRow();
  writes.released(file);
  expect(writes.size).toBe(1);
  await writes.settleAll();
  expect(writes.size).toBe(0);
  expect(files.claims.size).toBe(0);
  for (let i = 0; i < 5; i++) await write(100).done;
  expect(writes.size).toBe(0);
  expectContents(800);
});
