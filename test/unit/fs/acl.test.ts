import { describe, expect, it } from 'vitest';
import { convertAcl } from '../../../src/servers/fs/ext4/acl.ts';

describe('convertAcl', () => {
  it('widens entries without an id', () => {
    const stored = Buffer.from('01000000' + '01000600' + '0200070005000000' + '20000400', 'hex');
    const wanted = '02000000' + '01000600ffffffff' + '0200070005000000' + '20000400ffffffff';
    expect(Buffer.from(convertAcl(stored) ?? []).toString('hex')).toBe(wanted);
  });

  it.each([
    ['nothing', ''],
    ['another version', '02000000'],
    ['an unknown tag', '0100000040000700'],
    ['an id that is cut off', '010000000200070005'],
    ['bytes left over', '010000000100060001'],
  ])('refuses %s', (_, hex) => {
    expect(convertAcl(Buffer.from(hex, 'hex'))).toBeUndefined();
  });
});
