// What is read of /proc/self/mountinfo, and what is refused as a mount point.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FuseDevice } from '../../../src/vos/fuse/device.ts';
import { mountFuse } from '../../../src/vos/fuse/mount.ts';
import { parseMountInfo, prepareMountpoint } from '../../../src/vos/fuse/mountpoint.ts';
import { ManualClock } from '../../support/fuse-messages.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const untouched = {} as FuseDevice;
const clock = new ManualClock();
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dvk-mountpoint-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

describe('mountinfo', () => {
  it('is read with escapes and any number of optional fields', () => {
    const text = [
      '22 27 0:21 / /sys rw,nosuid shared:7 master:2 - sysfs sysfs rw',
      '36 27 0:45 / /mnt/a\\040b\\134c ro - fuse.dvk dvk:\\303\\274 rw,user_id=0',
      'nonsense',
      '',
    ].join('\n');
    expect(parseMountInfo(text)).toEqual([
      { device: '0:21', mountpoint: '/sys', type: 'sysfs', source: 'sysfs' },
      { device: '0:45', mountpoint: '/mnt/a b\\c', type: 'fuse.dvk', source: 'dvk:\u00fc' },
    ]);
  });
});

describe('a mount point', () => {
  it('must exist, and the error says how', async () => {
    const path = join(folder, 'none');
    await expect(prepareMountpoint(untouched, clock, path)).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining(`mkdir -p ${path}`) as string,
    });
  });

  it('must be a directory', async () => {
    const path = join(folder, 'file');
    await writeFile(path, '');
    await expect(prepareMountpoint(untouched, clock, path)).rejects.toMatchObject({
      code: 'ENOTDIR',
    });
  });

  it('is named without links and dots', async () => {
    expect(await prepareMountpoint(untouched, clock, `${folder}/../${basename(folder)}/.`)).toBe(
      folder,
    );
  });
});

describe('mountFuse', () => {
  it('refuses a name that would break the list of mounts', async () => {
    const ports = { device: untouched, service: new MemoryFiles(), clock };
    for (const name of ['', 'a b', 'a,b', 'x'.repeat(65)]) {
      const mounting = mountFuse(ports, { mountpoint: folder, name });
      await expect(mounting).rejects.toMatchObject({ code: 'EINVAL' });
    }
  });

  it('says why the system refused', async () => {
    const device = { ...untouched, fuseMount: () => -1 } as FuseDevice;
    const ports = { device, service: new MemoryFiles(), clock };
    await expect(mountFuse(ports, { mountpoint: folder, name: 'x' })).rejects.toMatchObject({
      code: 'EPERM',
      message: expect.stringContaining('run as root') as string,
    });
  });
});
