/**
 * The image of a service, opened as its spec says: through the host's page cache, or past it.
 */
import type { FsServiceSpec } from '../../vos/spec.ts';
import { type ImageFile, openImage } from './device.ts';

const BLOCK_SIZE_AT = 1024 + 0x18;
const BLOCK_SIZES = 7;

export interface ServedImage {
  readonly image: ImageFile;
  /** For people: `direct`, `buffered`, or `buffered:` and why it is not direct. */
  readonly io: string;
}

/** Throws as `openImage` does, EIO. */
export function openServed(service: FsServiceSpec, access: 'read' | 'write'): ServedImage {
  const image = openImage(service.image, access);
  if (service.direct !== true) return { image, io: 'buffered' };
  const why = image.goDirect(access, blockBytesOf(image));
  return { image, io: why === undefined ? 'direct' : `buffered: ${why}` };
}

/** Of what is no volume, some size: it is not opened in the end. */
function blockBytesOf(image: ImageFile): number {
  const field = new Uint8Array(4);
  image.read(field, BLOCK_SIZE_AT, field.length);
  return 1024 << ((field[0] ?? 0) % BLOCK_SIZES);
}
