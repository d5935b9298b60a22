/** Volumes with one thing wrong, and what our own check and e2fsck say of them. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { kindsIn } from '../../src/cli/fs-e2fsck.ts';
import { crc32c } from '../../src/dvk/index.ts';
import { checkVolume, type CheckReport } from '../../src/servers/fs/check/check.ts';
import type { FindingKind } from '../../src/servers/fs/check/findings.ts';
import { findProgram } from '../../src/cli/programs.ts';
import { debugfs } from './images.ts';
import { MemoryDevice } from './memory-device.ts';
import { SAMPLE_BLOCK_BYTES, type Sample, makeSample } from './sample.ts';

/** A sample in a file of its own, which is put back before each damage. */
export class DamagedSample {
  readonly sample: Sample;
  readonly path: string;
  /** Bytes that hold metadata of many kinds, `[from, to)`. */
  readonly ranges: readonly (readonly [number, number])[];
  readonly #whole: Uint8Array;

  constructor(directory: string, features?: string) {
    this.sample = makeSample(directory, features === undefined ? {} : { features });
    this.path = `${directory}/damaged`;
    this.#whole = this.sample.content.slice();
    this.ranges = this.#ranges();
  }

  /** Writes the sample, changed by `change`. */
  bytes(change: (content: Buffer) => void): Uint8Array {
    const content = Buffer.from(this.#whole);
    change(content);
    writeFileSync(this.path, content);
    return content;
  }

  /** Writes the sample, and lets debugfs change it. */
  command(...commands: readonly string[]): void {
    this.bytes(() => undefined);
    for (const command of commands) debugfs(this.path, command, '-w');
  }

  #ranges(): (readonly [number, number])[] {
    const { sample } = this;
    const block = (number: number, bytes = SAMPLE_BLOCK_BYTES): readonly [number, number] => {
      const at = number * SAMPLE_BLOCK_BYTES;
      return [at, at + bytes];
    };
    const names = ['file', 'large', 'holes', 'link', 'few', 'indexed'];
    const inodes = names.map((name) => sample.inodeAt(name));
    const view = new DataView(sample.content.buffer, sample.content.byteOffset);
    return [
      ...[block(1), block(2, 64)],
      ...[block(view.getUint32(2048, true), 260), block(view.getUint32(2052, true), 64)],
      ...inodes.map((at) => [at, at + 256] as const),
      ...['few', '/', 'indexed'].map((name) => block(sample.blocks(name)[0] ?? 0)),
      block(sample.blocks('indexed')[3] ?? 0),
      block(sample.xattrBlock('file'), 64),
    ];
  }
}

export interface Theirs {
  readonly kinds: readonly FindingKind[];
  /** Whether e2fsck found nothing. */
  readonly sound: boolean;
  readonly text: string;
}

/** What `e2fsck -fn` says, or `e2fsck -fy`. */
export function askE2fsck(path: string, flag: '-n' | '-y' = '-n'): Theirs {
  const env = { ...process.env, LC_ALL: 'C' };
  const program = findProgram('e2fsck') ?? 'e2fsck';
  const { stdout, stderr, status } = spawnSync(program, ['-f', flag, path], {
    encoding: 'latin1',
    env,
  });
  const text = stdout + stderr;
  const kinds = kindsIn(text);
  return { kinds, sound: status === 0 && kinds.length === 0, text };
}

/** Our own check. */
export function check(content: Uint8Array): CheckReport {
  const raw = (data: Uint8Array, seed: number): number => ~crc32c(data, ~seed >>> 0) >>> 0;
  return checkVolume(new MemoryDevice(content), { crc32c: raw, cacheBytes: 1 << 20 });
}

/** Numbers from 0 to 1 from a seed, each time the same. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Flips one bit of metadata, and tells how the two checks differ: undefined if they do not. */
export function flipAndCompare(damaged: DamagedSample, next: () => number): string | undefined {
  const { ranges } = damaged;
  const [from, to] = ranges[Math.floor(next() * ranges.length)] ?? [0, 1];
  const at = from + Math.floor(next() * (to - from));
  const bit = 1 << Math.floor(next() * 8);
  const content = damaged.bytes((bytes) => {
    bytes[at] = (bytes[at] ?? 0) ^ bit;
  });
  const ours = check(content);
  const theirs = askE2fsck(damaged.path);
  if ((ours.counts.size === 0) === theirs.sound) return undefined;
  const mine = [...ours.counts.keys()].join(', ');
  return `byte ${at}, bit ${bit}: ours ${mine || 'nothing'}, e2fsck ${theirs.text}`;
}
