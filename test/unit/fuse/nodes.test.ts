// The node table: node numbers, generations and lookup counts.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nodeOf, NodeTable } from '../../../src/vos/fuse/nodes.ts';

describe('node numbers', () => {
  it('are inode numbers, but for the root', () => {
    expect([0, 1, 2, 3, 11, 0xffff_ffff].map(nodeOf)).toEqual([0, 0, 1, 3, 11, 0xffff_ffff]);
  });

  it('give the root without a lookup', () => {
    const nodes = new NodeTable();
    nodes.remember(2, 5);
    expect(nodes.size).toBe(0);
    expect(nodes.find(1)).toEqual({ inode: 2, generation: 0 });
    expect(nodes.find(2)).toBeUndefined();
  });
});

describe('generations', () => {
  it('follow the newest entry, and keep the counts of both', () => {
    const nodes = new NodeTable();
    nodes.remember(12, 1);
    const old = nodes.find(12);
    nodes.remember(12, 2);

    expect(old).toMatchObject({ inode: 12, generation: 1 });
    expect(nodes.find(12)).toMatchObject({ inode: 12, generation: 2 });
    nodes.forget(12, 1);
    expect(nodes.find(12)).toMatchObject({ inode: 12, generation: 2 });
    nodes.forget(12, 1);
    expect(nodes.find(12)).toBeUndefined();
  });
});

describe('lookup counts', () => {
  it('hold exactly the nodes that were remembered more often than forgotten', () => {
    const step = fc.record({
      inode: fc.integer({ min: 3, max: 9 }),
      lookups: fc.integer({ min: -3, max: 1 }),
    });
    const property = fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const nodes = new NodeTable();
      const model = new Map<number, number>();
      for (const { inode, lookups } of steps) {
        const count = Math.max(0, (model.get(inode) ?? 0) + (lookups > 0 ? 1 : lookups));
        model.set(inode, count);
        if (lookups > 0) nodes.remember(inode, 1);
        else nodes.forget(inode, -lookups);
      }
      for (const [inode, count] of model) expect(nodes.lookups(inode)).toBe(count);
      expect(nodes.size).toBe([...model.values()].filter((count) => count > 0).length);
    });
    fc.assert(property, { seed: 1, numRuns: 200 });
  });
});
