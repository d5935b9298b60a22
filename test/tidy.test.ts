// The sources keep their own rules. Method: every file that git tracks is read, and each check of
// test/support/tidy.ts returns what is wrong with them.
import { execFileSync } from 'node:child_process';
import { lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  bannedText,
  brokenLinks,
  deadModules,
  deadNativeFiles,
  longFiles,
  longLines,
  strayFiles,
  wrongModes,
  wrongTitles,
  type SourceFile,
} from './support/tidy.ts';

const root = join(import.meta.dirname, '..');

/** Tracked files of the work tree. Symbolic links and submodules have a mode and no text. */
function trackedFiles(): SourceFile[] {
  const listing = execFileSync('git', ['ls-files', '--stage', '-z'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return listing
    .split('\0')
    .filter((entry) => entry !== '')
    .flatMap((entry) => {
      const [, mode = '', path = ''] = /^(\d+) \w+ \d\t(.*)$/s.exec(entry) ?? [];
      const status = lstatSync(join(root, path), { throwIfNoEntry: false });
      if (status === undefined) return [];
      const bytes = status.isFile() ? readFileSync(join(root, path)) : Buffer.alloc(0);
      return [{ path, mode, text: bytes.toString('utf8'), binary: bytes.includes(0) }];
    });
}

function isCheckout(): boolean {
  try {
    execFileSync('git', ['rev-parse', '--is-inside-work-tree'], { cwd: root, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('the repository', () => {
  const files = isCheckout() ? trackedFiles() : undefined;
  const rules: [string, (files: SourceFile[]) => string[]][] = [
    ['has no line over 100 columns', longLines],
    ['has no file over 600 lines', longFiles],
    ['has no banned word', bannedText],
    ['has no binary and no left-over', strayFiles],
    ['has executable scripts and nothing else executable', wrongModes],
    ['has one title in each markdown file', wrongTitles],
    ['has no broken relative link', brokenLinks],
    ['has no module that nobody imports', deadModules],
    ['has no native source that is not built', deadNativeFiles],
  ];

  it.for(rules)('%s', ([, check], context) => {
    if (files === undefined) context.skip('needs a git checkout that this user may read');

    expect(check(files ?? [])).toEqual([]);
  });
});
