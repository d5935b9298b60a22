import { describe, expect, it } from 'vitest';
import { RecentMap } from '../../../src/servers/fs/recent.ts';

describe('RecentMap', () => {
  it('keeps what is used and drops what is not', () => {
    const map = new RecentMap<string>(10);
    map.set(0, 'used');
    map.set(1, 'unused');
    for (let key = 2; key < 100; key++) {
      map.set(key, 'other');
      expect(map.get(0)).toBe('used');
    }
    expect(map.get(1)).toBeUndefined();
    expect(map.get(95)).toBe('other');
  });

  it('holds at most twice its capacity', () => {
    const map = new RecentMap<number>(8);
    for (let key = 0; key < 100; key++) map.set(key, key);
    const kept = Array.from({ length: 100 }, (_, key) => map.get(key)).filter(
      (value) => value !== undefined,
    );
    expect(kept.length).toBeGreaterThanOrEqual(8);
    expect(kept.length).toBeLessThanOrEqual(16);
  });
});
