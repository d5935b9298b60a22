/**
 * A DVS whose mount the POSIX suite runs on: a file system server with an empty volume, a FUSE
 * mount of it for reading and writing and one that is read-only, and volumes of 4 MiB, each with a
 * server and a mount of its own.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/cli/programs.ts';
import { TestPlace } from './dvk-command.ts';
import { makeImage } from './images.ts';

const VOLUME_BYTES = 256 << 20;
const SMALL_BYTES = 4 << 20;
/** As many tests of the suite fill a volume. */
const SMALL_VOLUMES = 2;

export interface MountPaths {
  readonly writable: string;
  /** The same tree, where nothing can be changed. */
  readonly readOnly: string;
  readonly small: readonly string[];
}

export interface PosixMount {
  readonly paths: MountPaths;
  /** Takes the DVS down; throws when something is left or a volume has an error. */
  end(): Promise<void>;
}

export async function startMount(): Promise<PosixMount> {
  const place = new TestPlace();
  chmodSync(place.files, 0o755);
  const images: string[] = [];
  const services: string[] = [];
  const directory = (name: string): string => {
    const path = join(place.files, name);
    mkdirSync(path);
    return path;
  };
  const serve = (name: string, bytes: number): string => {
    const image = makeImage(directory(`${name}-image`), {
      bytes,
      arguments: ['-b', '4096', '-m', '0'],
    });
    images.push(image);
    const slot = images.length;
    services.push(`      - { name: ${name}, kind: fs, node: 0, slot: ${slot}, image: ${image} }`);
    return name;
  };
  const mount = (name: string, server: string, more = ''): string => {
    const path = directory(name);
    const what = `kind: fuse, node: 0, server: ${server}, mount: ${path}, allowOther: true${more}`;
    services.push(`      - { name: ${name}, ${what} }`);
    return path;
  };

  const server = serve('fs', VOLUME_BYTES);
  const paths = {
    writable: mount('writable', server),
    readOnly: mount('read-only', server, ', readOnly: true'),
    small: Array.from({ length: SMALL_VOLUMES }, (_, i) =>
      mount(`small-${i}`, serve(`fs-${i}`, SMALL_BYTES)),
    ),
  };
  const head = ['dvs: posix', 'nodes: [{ id: 0 }]', 'containers:', '  - name: mol'];
  const spec = place.spec('posix.yaml', [...head, '    services:', ...services]);
  try {
    await place.must('up', spec, '--detach');
  } catch (error) {
    await place.end();
    throw error;
  }

  return { paths, end: async () => endMount(place, images) };
}

async function endMount(place: TestPlace, images: readonly string[]): Promise<void> {
  await place.run('down');
  const left = place.leftovers();
  const wrong = images.flatMap((image) => {
    try {
      execFileSync(findProgram('e2fsck') ?? 'e2fsck', ['-fn', image], { stdio: 'pipe' });
      return [];
    } catch (error) {
      return [String((error as { stdout?: Buffer }).stdout ?? error)];
    }
  });
  await place.end();
  const faults = [...left.map((what) => `left behind: ${what}`), ...wrong];
  if (faults.length === 0) return;
  // An error at the end of a run is printed, and would not fail it.
  process.exitCode = 1;
  throw new Error(faults.join('\n'));
}
