// A volume in memory is made once, whole or not at all, and only where there is room for it.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepareRam } from '../../../src/cli/ram-volume.ts';
import { imageObstacle, run } from '../../support/images.ts';

const MIB = 1 << 20;
const obstacle = imageObstacle();

describe.skipIf(obstacle !== undefined)(`a volume in memory ${obstacle ?? ''}`, () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'dvk-ram-'));
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it('is an empty file system for its owner alone, and is not made twice', async () => {
    const path = join(directory, 'volume');
    writeFileSync(`${path}.new`, 'left by one that was killed');
    await prepareRam(path, 16 * MIB);
    expect([statSync(path).size, statSync(path).mode & 0o777]).toEqual([16 * MIB, 0o600]);
    run('e2fsck', '-fn', path);
    expect(readdirSync(directory)).toEqual(['volume']);

    writeFileSync(path, 'what a server has written');
    await prepareRam(path, 16 * MIB);
    expect(readFileSync(path, 'utf8')).toBe('what a server has written');
  });

  it('is refused where it has no room', async () => {
    const path = join(directory, 'volume');
    const told = /has \d.* free, and a volume of 1024 TiB is to be there; give the volume less/;
    await expect(prepareRam(path, 2 ** 50)).rejects.toThrow(told);
    expect(existsSync(path)).toBe(false);
  });
});
