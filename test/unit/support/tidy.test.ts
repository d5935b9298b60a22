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
} from '../../support/tidy.ts';

function file(path: string, text: string, more: Partial<SourceFile> = {}): SourceFile {
  return { path, text, mode: '100644', binary: false, ...more };
}

describe('longLines', () => {
  it('names a line over 100 columns, counting characters', () => {
    const text = `short\n${'ä'.repeat(100)}\n${'x'.repeat(101)}\n`;

    expect(longLines([file('src/a.ts', text)])).toEqual(['src/a.ts:3: 101 columns, at most 100']);
  });

  it('leaves generated files, documents and long addresses alone', () => {
    const long = 'x'.repeat(120);

    expect(longLines([file('src/a.gen.ts', long), file('a.md', long)])).toEqual([]);
    expect(longLines([file('src/a.ts', `// https://example.org/${long}`)])).toEqual([]);
  });
});

describe('longFiles', () => {
  it('allows 600 lines and no more', () => {
    const files = [file('src/a.ts', 'x\n'.repeat(600)), file('src/b.ts', 'x\n'.repeat(601))];

    expect(longFiles(files)).toEqual(['src/b.ts: 601 lines, at most 600: split it']);
  });
});

describe('bannedText', () => {
  const wrong = (path: string, text: string): number => bannedText([file(path, text)]).length;

  it.each(['// TODO', 'FIXME', 'XXX here', 'Not implemented.', 'for now.'])('finds %j', (text) => {
    expect(wrong('src/a.ts', text)).toBe(1);
  });

  it('does not find such words inside others', () => {
    expect(wrong('src/a.ts', "mkdtemp('a-XXXXXX'); for nowhere; TODOS")).toBe(0);
  });

  it('finds absolute paths of a developer and hosts of registries', () => {
    expect(wrong('docs/a.md', 'see /home/me/notes')).toBe(1);
    expect(wrong('package.json', '"https://registry.example.org/x"')).toBe(1);
    expect(wrong('package-lock.json', '"resolved": "x"')).toBe(1);
    expect(wrong('docs/a.md', 'src/home/a and /homes')).toBe(0);
  });

  it('allows console outside src only', () => {
    expect(wrong('src/a.ts', 'console.log(1)')).toBe(1);
    expect(wrong('bench/a.ts', 'console.log(1)')).toBe(0);
  });

  it('allows the addon in src/dvk/native.ts only', () => {
    expect(wrong('src/dvk/native.ts', "'dvk.node'")).toBe(0);
    expect(wrong('src/vos/a.ts', "'../build/dvk.node'")).toBe(1);
  });
});

describe('strayFiles', () => {
  it('finds binaries and left-overs', () => {
    const files = [file('a.img', '', { binary: true }), file('a.ts.orig', ''), file('a.ts', '')];

    expect(strayFiles(files)).toHaveLength(2);
  });
});

describe('wrongModes', () => {
  it('wants exactly the scripts with a first line to be executable', () => {
    const files = [
      file('run', '#!/bin/sh\n'),
      file('ok', '#!/bin/sh\n', { mode: '100755' }),
      file('main.ts', '#!/usr/bin/env node\n'),
      file('a.ts', '', { mode: '100755' }),
      file('link', '', { mode: '120000' }),
    ];

    expect(wrongModes(files).map((line) => line.split(':')[0])).toEqual(['run', 'a.ts', 'link']);
  });
});

describe('wrongTitles', () => {
  it('counts titles outside of code', () => {
    const files = [
      file('one.md', '# A\n\n```sh\n# comment\n```\n'),
      file('none.md', '## A\n'),
      file('two.md', '# A\n# B\n'),
    ];

    expect(wrongTitles(files).map((line) => line.split(':')[0])).toEqual(['none.md', 'two.md']);
  });
});

describe('brokenLinks', () => {
  it('resolves links relative to the document', () => {
    const target = file('docs/b.md', '');
    const links = (text: string): number =>
      brokenLinks([file('docs/a.md', text), target, file('src/x/y.ts', '')]).length;

    expect(
      links('[b](b.md) [b](./b.md#part) [x](../src/x/) [w](https://example.org) [h](#p)'),
    ).toBe(0);
    expect(links('[b](c.md)')).toBe(1);
    expect(links('```\n[b](c.md)\n```')).toBe(0);
  });
});

describe('deadModules', () => {
  it('knows imports, dynamic imports and entries', () => {
    const files = [
      file('src/cli/main.ts', "import '../dvk/a.ts';\nawait import('./b.ts');"),
      file('src/dvk/a.ts', ''),
      file('src/cli/b.ts', ''),
      file('src/cli/c.ts', ''),
    ];

    expect(deadModules(files)).toEqual(['src/cli/c.ts: imported by nobody']);
  });
});

describe('deadNativeFiles', () => {
  it('wants sources in binding.gyp and headers included', () => {
    const files = [
      file('native/binding.gyp', "'core/a.cc', ls test/*.cc"),
      file('native/test/a_test.cc', ''),
      file('native/core/a.cc', '#include "core/a.h"\n'),
      file('native/core/a.h', ''),
      file('native/core/b.cc', ''),
      file('native/core/b.h', ''),
      file('native/include/dvk.h', ''),
    ];

    expect(deadNativeFiles(files)).toEqual([
      'native/core/b.cc: not in binding.gyp',
      'native/core/b.h: included by nobody',
    ]);
  });
});
