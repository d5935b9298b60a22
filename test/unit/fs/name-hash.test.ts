import { describe, expect, it } from 'vitest';
import { hashName } from '../../../src/servers/fs/ext4/name-hash.ts';
import { imageObstacle, run, withDirectory } from '../../support/images.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const seedText = '6a2d1f5e-0c3b-4e8a-9d47-2b6f81c05e93';
const seedBytes = Buffer.from(seedText.replaceAll('-', ''), 'hex');
const word = (at: number): number => seedBytes.readUInt32LE(at);
const seed = [word(0), word(4), word(8), word(12)] as const;
const none = [0, 0, 0, 0] as const;

/** The hashes that debugfs gives to names. */
function judge(names: readonly string[], flags: string): number[] {
  return withDirectory((directory) => {
    const script = join(directory, 'script');
    writeFileSync(script, names.map((name) => `dx_hash ${flags} ${name}\n`).join(''));
    const output = run('debugfs', '-f', script).toString();
    return [...output.matchAll(/is (0x[0-9a-f]+)/g)].map((match) => Number(match[1]));
  });
}

const obstacle = imageObstacle();

describe.skipIf(obstacle !== undefined)(`hashName ${obstacle ?? ''}`, () => {
  const names = Array.from({ length: 60 }, (_, index) =>
    'abcdefghijklmnop'.repeat(16).slice(0, index * 4 + 1),
  );
  names.push('n'.repeat(255), 'Umlaut-ä', 'x', 'lost+found');

  it.each([
    ['legacy', 0, none],
    ['half_md4', 1, none],
    ['half_md4', 1, seed],
    ['tea', 2, none],
    ['tea', 2, seed],
  ] as const)('agrees with e2fsprogs on %s', (algorithm, version, own) => {
    const flags = `-h ${algorithm} ${own === none ? '' : `-s ${seedText}`}`;
    const mine = names.map((name) => hashName(Buffer.from(name), { version, seed: own }));
    expect(mine).toEqual(judge(names, flags));
  });

  it('reads bytes above 127 as the version says', () => {
    const name = Buffer.from([0xff, 0x80, 0x41]);
    for (const version of [0, 1, 2]) {
      const signed = hashName(name, { version, seed });
      expect(hashName(name, { version: version + 3, seed })).not.toBe(signed);
      const ascii = Buffer.from('plain');
      const plain = hashName(ascii, { version, seed });
      expect(hashName(ascii, { version: version + 3, seed })).toBe(plain);
    }
  });

  it('knows no other versions', () => {
    expect(hashName(Buffer.from('a'), { version: 6, seed })).toBeUndefined();
  });
});
