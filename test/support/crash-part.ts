/**
 * One part of test/soak/fs-crash.test.ts, in a process of its own: crashes of one kind of volume.
 *
 * Its argument is a `CrashPart` as JSON. It writes a JSON document a line: the `CrashResult` so
 * far now and then, and the whole one in the end.
 */
import { type CrashOptions, crashRegisters, crashTree } from './crash-check.ts';

export interface CrashPart extends CrashOptions {
  /** What is changed. */
  readonly what: 'blocks' | 'a tree';
}

const PROGRESS_IMAGES = 100;

const part = JSON.parse(process.argv[2] ?? '') as CrashPart;
const crash = part.what === 'blocks' ? crashRegisters : crashTree;
const result = crash({
  ...part,
  progress: (found) => {
    if (found.images % PROGRESS_IMAGES === 0) process.stdout.write(`${JSON.stringify(found)}\n`);
  },
});
process.stdout.write(`${JSON.stringify(result)}\n`);
