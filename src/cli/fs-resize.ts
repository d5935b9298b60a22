/** `dvk fs resize` and `dvk fs label`: changes of a volume that nobody uses. */
import { fstatSync, ftruncateSync } from 'node:fs';

import { readIdentity, type Identity } from '../servers/fs/dump/superblock.ts';
import type { ImageFile } from '../servers/fs/device.ts';
import { formatSize } from '../vos/spec-reader.ts';
import { asCliError, mustEndWith, open, runTool, tool, withImage } from './fs-tools.ts';
import { CliError, output } from './output.ts';

export interface LabelFlags {
  readonly uuid?: string;
  readonly json?: boolean;
}

const LABEL_BYTES_MAX = 16;

/** The volume has `bytes` then, or all of the device; an image file follows. */
export async function resizeImage(
  path: string,
  bytes: number | undefined,
  flags: { readonly json?: boolean },
): Promise<void> {
  const resize2fs = tool('resize2fs');
  await withImage(path, 'write', async (image) => {
    const before = identityOf(image);
    const isFile = fstatSync(image.descriptor).isFile();
    const wanted = bytes ?? image.bytes;
    if (!isFile && wanted > image.bytes) {
      throw new CliError(`${path} has ${formatSize(image.bytes)} only`);
    }
    // A whole number of blocks, or resize2fs would leave the file longer than the volume.
    const blocks = Math.floor(wanted / before.blockBytes);
    const target = blocks * before.blockBytes;
    await preen(path);
    if (isFile && target > image.bytes) ftruncateSync(image.descriptor, target);
    try {
      const args = [path, `${String(target / 1024)}K`];
      mustEndWith(await runTool(resize2fs, args, { title: 'resize2fs' }), 'resize2fs');
    } catch (error) {
      if (isFile) ftruncateSync(image.descriptor, image.bytes);
      throw error;
    }
    const after = identityOf(image);
    const now = after.blocks * after.blockBytes;
    if (isFile) ftruncateSync(image.descriptor, now);
    const was = before.blocks * before.blockBytes;
    if (flags.json === true) output.json({ image: path, before: was, after: now });
    else output.line(`${path}: ${formatSize(was)} became ${formatSize(now)}`);
  });
}

/** resize2fs and tune2fs -U want a volume that was just checked. */
async function preen(path: string): Promise<void> {
  const args = ['-f', '-p', '-C', '3', path];
  const result = await runTool(tool('e2fsck'), args, { title: 'e2fsck', progress: true });
  if (result.status <= 1) return;
  const remedy = `Repair it first: dvk fs check --repair ${path}`;
  throw new CliError(`${path} has errors:\n${result.text}`, remedy);
}

/** Shows name and UUID, or sets what is given; `--uuid new` makes a new one. */
export async function labelImage(
  path: string,
  label: string | undefined,
  { uuid, json }: LabelFlags,
): Promise<void> {
  if (label !== undefined || uuid !== undefined) await setLabel(path, label, uuid);
  const identity = look(path);
  if (json === true) output.json({ image: path, label: identity.label, uuid: identity.uuid });
  else {
    output.line(`label  ${identity.label}`);
    output.line(`uuid   ${identity.uuid}`);
  }
}

async function setLabel(
  path: string,
  label: string | undefined,
  uuid: string | undefined,
): Promise<void> {
  if (label !== undefined && Buffer.byteLength(label) > LABEL_BYTES_MAX) {
    throw new CliError(`a label has ${String(LABEL_BYTES_MAX)} bytes at most`);
  }
  const tune2fs = tool('tune2fs');
  await withImage(path, 'write', async (image) => {
    identityOf(image);
    // The checksums of all metadata may have to follow a new UUID.
    if (uuid !== undefined) await preen(path);
    const value = uuid === 'new' ? 'random' : uuid;
    const args = [
      ...(label === undefined ? [] : ['-L', label]),
      ...(value === undefined ? [] : ['-U', value]),
      path,
    ];
    mustEndWith(await runTool(tune2fs, args, { title: 'tune2fs' }), 'tune2fs');
  });
}

function look(path: string): Identity {
  const image = open(path, 'look');
  try {
    return identityOf(image);
  } finally {
    image.close();
  }
}

function identityOf(image: ImageFile): Identity {
  try {
    return readIdentity(image);
  } catch (error) {
    throw asCliError(error, image.path);
  }
}
