// `dvk fs`: volumes are made, looked at, damaged, repaired, resized and named, and refused while
// they are in use. The kernel and e2fsck see the same volumes.
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImage } from '../../src/servers/fs/device.ts';
import { askE2fsck } from '../support/damage.ts';
import { TestPlace } from '../support/dvk-command.ts';
import { debugfs, imageObstacle, mountObstacle, run, withMount } from '../support/images.ts';

const MIB = 1 << 20;
const obstacle = imageObstacle();
let place: TestPlace;
let image: string;
let tree: string;

beforeAll(() => {
  place = new TestPlace();
  image = join(place.files, 'image');
  tree = join(place.files, 'tree');
  mkdirSync(join(tree, 'below'), { recursive: true });
  writeFileSync(join(tree, 'below/file'), 'some text\n');
});
afterAll(async () => {
  await place.end();
});

async function json(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await place.run('fs', ...args, '--json');
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as Record<string, unknown>;
}

async function failure(...args: readonly string[]): Promise<string> {
  const { code, stderr } = await place.run('fs', ...args);
  expect(code).toBe(1);
  return stderr;
}

describe.skipIf(obstacle !== undefined)(`dvk fs ${obstacle ?? ''}`, () => {
  it('makes a volume of a tree, and not over another one', async () => {
    const made = await json('mkfs', image, '--from', tree, '--size', '16MiB', '--label', 'one');

    expect(made).toEqual({ image, bytes: 16 * MIB, files: 2 });
    expect(askE2fsck(image).sound).toBe(true);
    expect(debugfs(image, 'cat below/file')).toBe('some text\n');
    expect(await failure('mkfs', image)).toContain('holds a volume already');
  });

  it('shows what lies on it, also while it is locked', async () => {
    const held = openImage(image, 'write');
    const all = await json('dump', image);
    const { inode } = await json('dump', image, '--path', '/below/file');
    held.close();

    expect(all['superblock']).toMatchObject({ label: 'one', blockBytes: 4096, blocks: 4096 });
    expect(all['journal']).toMatchObject({ inode: 8, transactions: 0 });
    expect(inode).toMatchObject({ type: 'regular file', size: 10, extents: [{ count: 1 }] });
  });

  it('refuses what a server has open, and what is mounted', async () => {
    const held = openImage(image, 'write');
    const refusals = [
      await failure('check', image),
      await failure('resize', image, '20MiB'),
      await failure('mkfs', image, '--force', '--size', '1MiB'),
    ];
    held.close();

    for (const text of refusals) expect(text).toContain(`${image} is in use by process`);
    if (mountObstacle() !== undefined) return;
    const text = await withMountAsync(async () => await failure('check', image, '--repair'));
    expect(text).toContain('is in use by the kernel');
  });

  it('grows and shrinks it, and its file; the kernel mounts it', async () => {
    const grown = await json('resize', image, '40MiB');
    expect(grown).toEqual({ image, before: 16 * MIB, after: 40 * MIB });
    expect(askE2fsck(image).sound).toBe(true);
    const shrunk = await json('resize', image, '12MiB');
    expect(shrunk).toEqual({ image, before: 40 * MIB, after: 12 * MIB });

    expect(statSync(image).size).toBe(12 * MIB);
    expect(askE2fsck(image).sound).toBe(true);
    expect(await failure('resize', image, '1MiB')).toContain('smaller than minimum');
    expect(statSync(image).size).toBe(12 * MIB);
    if (mountObstacle() !== undefined) return;
    const read = withMount(image, 'ro', (mount) => readFileSync(join(mount, 'below/file'), 'utf8'));
    expect(read).toBe('some text\n');
  });

  it('sets name and UUID, with the checksums that follow', async () => {
    const uuid = '6a2d1f5e-0c3b-4e8a-9d47-2b6f81c05e93';

    expect(await json('label', image, 'two', '--uuid', uuid)).toEqual({
      image,
      label: 'two',
      uuid,
    });
    expect(askE2fsck(image).sound).toBe(true);
  });

  it('finds errors, by name and with code 4, and lets e2fsck repair them', async () => {
    debugfs(image, 'sif below/file links_count 7', '-w');

    const found = await place.run('fs', 'check', image, '--json');
    const repaired = await json('check', image, '--repair');

    expect(found.code).toBe(4);
    expect(JSON.parse(found.stdout)).toMatchObject({
      sound: false,
      agree: true,
      ours: { kinds: { 'link-count': 1 } },
      e2fsck: { status: 4, kinds: ['link-count'] },
    });
    expect(found.stdout).toContain('7 links, but it has 1');
    expect(repaired).toMatchObject({ sound: true, repaired: true, after: { kinds: {} } });
  });

  it('shows what it can of a hostile image, and never crashes', async () => {
    const bytes = readFileSync(image);
    for (let at = 1024 + 0x80; at < bytes.length; at += 97) bytes[at] = (at * 7) & 255;
    writeFileSync(image, bytes);

    const { code, stdout } = await place.run('fs', 'dump', image, '--json');
    const check = await place.run('fs', 'check', image, '--json');

    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toHaveProperty('error');
    expect(check.code).toBe(4);
    expect(JSON.parse(check.stdout)).toMatchObject({ sound: false });
  });
});

/** While the kernel has the image. */
async function withMountAsync<T>(use: () => Promise<T>): Promise<T> {
  const mount = join(place.files, 'mount');
  mkdirSync(mount, { recursive: true });
  run('mount', '-o', 'loop', image, mount);
  try {
    return await use();
  } finally {
    run('umount', mount);
  }
}
