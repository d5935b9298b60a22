/**
 * `dvk fs`: volumes in image files and on devices, of which no server need know; counters, quotas
 * and mounts of a DVS.
 */
import { InvalidArgumentError, type Command } from 'commander';

import { checkImage } from './fs-check.ts';
import { dumpImage } from './fs-dump.ts';
import { makeFileSystem } from './fs-mkfs.ts';
import { registerInfo } from './fs-info.ts';
import { registerMount } from './fs-mount.ts';
import { registerQuota } from './fs-quota.ts';
import { labelImage, resizeImage } from './fs-resize.ts';
import { sizeOption, wholeNumber } from './options.ts';

const ENTRIES_SHOWN = 1000;

export function register(program: Command): void {
  const fs = program
    .command('fs')
    .description('volumes: mkfs, check, resize, label, dump, info, quota, mount, umount');
  const image = (name: string): Command =>
    fs
      .command(name)
      .argument('<image>', 'image file, or device')
      .option('--json', 'one JSON document instead of text');
  image('mkfs')
    .description('make an ext4 volume')
    .option('--size <size>', 'as 1GiB (default: that of the file, the device or the tree)', size)
    .option('--from <dir>', 'a directory whose tree goes into it')
    .option('--label <name>', 'its name, of at most 16 bytes', label)
    .option('--uuid <uuid>', 'its UUID (default: a random one)', uuid)
    .option('--block-size <size>', '1024 to 65536', blockSize)
    .option('--journal-size <size>', 'in whole MiB; 0 for no journal', size)
    .option('--features <list>', 'as mke2fs -O has them: metadata_csum,^64bit', features)
    .option('--inodes <n>', 'how many files it may have', wholeNumber)
    .option('--force', 'overwrite what is there')
    .action(makeFileSystem);
  image('check')
    .description('look for errors, by our own check and by e2fsck')
    .option('--repair', 'let e2fsck repair what it finds')
    .action(checkImage);
  image('resize')
    .description('grow or shrink a volume that is not in use, and its file')
    .argument('[size]', 'as 2GiB (default: that of the file or device)', sizeOption)
    .action(resizeImage);
  image('label')
    .description('show or set the name and the UUID of a volume')
    .argument('[name]', 'the new name', label)
    .option('--uuid <uuid>', 'the new UUID; `new` for a random one', newUuid)
    .action(labelImage);
  image('dump')
    .description('show what lies on a volume, also while it is served')
    .option('--groups', 'the descriptors of its groups')
    .option('--journal', 'the state of its journal')
    .option('--inode <n>', 'an inode: fields, xattrs, extents, entries', wholeNumber)
    .option('--path <path>', 'the same, of a file by its path in the volume')
    .option('--limit <n>', 'groups, extents and entries at most', wholeNumber, ENTRIES_SHOWN)
    .action(dumpImage);
  registerInfo(fs);
  registerQuota(fs);
  registerMount(fs);
}

function size(text: string): number {
  return text === '0' ? 0 : sizeOption(text);
}

function blockSize(text: string): number {
  const bytes = sizeOption(/^\d+$/.test(text) ? `${text} B` : text);
  if ([1024, 2048, 4096, 8192, 16384, 32768, 65536].includes(bytes)) return bytes;
  throw new InvalidArgumentError('give a power of two from 1024 to 65536.');
}

function label(text: string): string {
  if (Buffer.byteLength(text) <= 16) return text;
  throw new InvalidArgumentError('give at most 16 bytes.');
}

function uuid(text: string): string {
  if (/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text)) return text;
  throw new InvalidArgumentError('give a UUID.');
}

function newUuid(text: string): string {
  return text === 'new' ? text : uuid(text);
}

function features(text: string): string {
  if (/^\^?\w+(,\^?\w+)*$/.test(text)) return text;
  throw new InvalidArgumentError('give names, with ^ before those that are not wanted.');
}
