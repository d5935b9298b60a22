// The node table: node numbers, generations and lookup counts.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nodeOf, NodeTable } from '../../../src/vos/fuse/nodes.ts';
import { RowTable } from '../../../src/vos/fuse/row-table.ts';
import type { FileAttributes } from '../../../src/vos/protocol/fs.ts';

const TIME = { seconds: 1, nanoseconds: 0 };
const numerically = (a: number, b: number): number => a - b;

/** Different ones for each inode. */
function attributesOf(inode: number): FileAttributes {
  const times = { accessed: TIME, modified: TIME, changed: { seconds: inode, nanoseconds: inode } };
  const owner = { mode: 0o100644, links: 1, uid: 0, gid: 0 };
  return { inode, generation: 1, size: inode, sectors: 0, ...owner, ...times };
}

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
  it('of one inode have a node each while the kernel has both', () => {
    const nodes = new NodeTable();
    nodes.remember(12, 1, { ...attributesOf(12), generation: 1 });
    nodes.lock(12);
    nodes.remember(12, 2, { ...attributesOf(12), generation: 2 });
    const next = 12 + 2 ** 32;

    expect(nodes.find(12)).toEqual({ inode: 12, generation: 1 });
    expect(nodes.find(next)).toEqual({ inode: 12, generation: 2 });
    expect([nodes.newest(12), nodes.size, nodes.isLocked(12)]).toEqual([next, 2, false]);
    expect(nodes.isCurrent({ ...attributesOf(12), generation: 1 })).toBe(false);
    expect(nodes.isCurrent({ ...attributesOf(12), generation: 2 })).toBe(true);
    nodes.forget(12, 1);
    expect(nodes.find(12)).toBeUndefined();
    expect([nodes.nodeFor(12, 2), nodes.nodeFor(12, 3)]).toEqual([next, 12]);
    nodes.forget(next, 1);
    expect([nodes.find(next), nodes.size, nodes.nodeFor(12, 2)]).toEqual([undefined, 0, 12]);
  });

  it('have the node they had when an older answer comes in between', () => {
    const nodes = new NodeTable();
    for (const generation of [1, 2, 1, 2, 2, 1]) nodes.remember(12, generation);

    expect([nodes.lookups(12), nodes.lookups(12 + 2 ** 32), nodes.size]).toEqual([3, 3, 2]);
    nodes.forget(12, 2);
    nodes.forget(12 + 2 ** 32, 3);
    expect([nodes.lookups(12), nodes.size]).toEqual([1, 1]);
  });

  it('that the kernel has forgotten are told of, each by itself', () => {
    const nodes = new NodeTable();
    const told: number[] = [];
    for (const generation of [1, 2]) {
      nodes.remember(12, generation);
      nodes.whenForgotten({ inode: 12, generation }, () => told.push(generation));
    }

    nodes.whenForgotten({ inode: 12, generation: 3 }, () => told.push(3));
    expect(told).toEqual([3]);
    nodes.forget(12, 1);
    expect(told).toEqual([3, 1]);
    nodes.forget(12 + 2 ** 32, 1);
    expect(told).toEqual([3, 1, 2]);
  });
});

describe('a kernel that looks up and forgets', () => {
  // What the kernel has: node -> whose it is, and how often it was told so.
  interface Held {
    readonly inode: number;
    readonly generation: number;
    lookups: number;
  }

  it('has one node for each file, and one file for each node', () => {
    const step = fc.record({
      inode: fc.integer({ min: 3, max: 5 }),
      generation: fc.integer({ min: 1, max: 4 }),
      forgets: fc.option(fc.nat()),
    });
    const property = fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const nodes = new NodeTable();
      const kernel = new Map<number, Held>();
      for (const { inode, generation, forgets } of steps) {
        const held = [...kernel.keys()];
        const node =
          forgets === null ? nodes.nodeFor(inode, generation) : (held[forgets % held.length] ?? 0);
        const entry = kernel.get(node);
        if (forgets === null) {
          const told = entry ?? { inode, generation, lookups: 0 };
          expect(told).toMatchObject({ inode, generation });
          told.lookups++;
          kernel.set(node, told);
          nodes.remember(inode, generation);
          expect(nodes.newest(inode)).toBe(node);
        } else if (entry !== undefined) {
          const lookups = 1 + (forgets % entry.lookups);
          nodes.forget(node, lookups);
          entry.lookups -= lookups;
          if (entry.lookups === 0) kernel.delete(node);
        }
        expect(nodes.size).toBe(kernel.size);
        const files = [...kernel.values()].map((one) => `${one.inode} ${one.generation}`);
        expect(new Set(files).size).toBe(files.length);
        for (const [at, { lookups, ...file }] of kernel) {
          expect(nodes.find(at)).toEqual(file);
          expect(nodes.lookups(at)).toBe(lookups);
          expect(nodes.nodeFor(file.inode, file.generation)).toBe(at);
        }
      }
    });
    fc.assert(property, { seed: 3, numRuns: 200 });
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

describe('rows', () => {
  it('are those of their keys, through growth and removal', () => {
    const key = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 2 ** 32 - 1 }));
    const step = fc.record({ key, isAdded: fc.boolean() });
    const property = fc.property(fc.array(step, { maxLength: 1000, size: 'max' }), (steps) => {
      const table = new RowTable();
      const model = new Map<number, number>();
      let most = 0;
      for (const { key, isAdded } of steps) {
        expect(table.find(key)).toBe(model.get(key) ?? -1);
        if (!isAdded) {
          table.remove(key);
          model.delete(key);
        } else if (!model.has(key)) {
          model.set(key, table.add(key));
          most = Math.max(most, model.size);
        }
      }
      for (const [key, row] of model) expect(table.find(key)).toBe(row);
      expect([...table.keys()].toSorted(numerically)).toEqual(
        [...model.keys()].toSorted(numerically),
      );
      expect(table.size).toBe(model.size);
      expect(new Set(model.values()).size).toBe(model.size);
      for (const row of model.values()) expect(row).toBeLessThan(most);
    });
    fc.assert(property, { seed: 2, numRuns: 50 });
  });

  it('are not those of what is no key', () => {
    const table = new RowTable();
    table.add(7);
    for (const key of [0, -1, 2 ** 32 + 7, NaN, 8]) {
      table.remove(key);
      expect(table.find(key)).toBe(-1);
    }
    expect(table.find(7)).toBe(0);
    table.clear();
    expect([table.find(7), table.size]).toEqual([-1, 0]);
  });
});

describe('a node', () => {
  it('has what the kernel was told of it, whatever becomes of others', () => {
    const nodes = new NodeTable();
    for (let inode = 3; inode < 3000; inode++) nodes.remember(inode, 1, attributesOf(inode));
    for (let inode = 3; inode < 3000; inode += 2) nodes.forget(inode, 1);
    for (let inode = 3; inode < 1000; inode += 2) nodes.remember(inode, 2);

    for (let inode = 3; inode < 1000; inode++) {
      const known = inode % 2 === 0;
      expect(nodes.isCurrent(attributesOf(inode))).toBe(known);
      expect(nodes.knowsNewer({ ...attributesOf(inode), changed: TIME })).toBe(known);
      expect(nodes.find(inode)).toEqual({ inode, generation: known ? 1 : 2 });
    }
    expect(nodes.knows(1001)).toBe(false);
    nodes.lock(4);
    nodes.lock(1001);
    expect([4, 1001, 2].map((inode) => nodes.isLocked(inode))).toEqual([true, false, true]);
    nodes.forget(4, 1);
    nodes.remember(4, 1);
    expect(nodes.isLocked(4)).toBe(false);
  });
});
