// Probes in a world of processes that wait for one another, with messages that take their time:
// every cycle across nodes ends once, and nothing else ends. Method: random calls, answers,
// notifications and time-outs, compared with who waits for whom in truth at each moment; and cycles
// by hand. Reference: Chandy, Misra, Haas, "Distributed Deadlock Detection" (1983), section 3.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Proc, WaitKind } from '../../support/wait-world.ts';
import { describeWait, WaitWorld, type WorldOptions } from '../../support/wait-world.ts';

const RUNS = 300;
const STIRS = 150;
// Longer than the longest pause between two probes.
const QUIET_MS = 20_000;
const PATIENCE_MS = 1_200_000;

function world(options: Partial<WorldOptions> = {}): WaitWorld {
  return new WaitWorld({ nodes: 3, processes: 6, seed: 1, delayMs: 5, ...options });
}

function at(made: WaitWorld, index: number): Proc {
  const proc = made.procs[index];
  if (proc === undefined) throw new Error(`no process ${String(index)}`);
  return proc;
}

/** Each process of `ring` calls the next; process i is on node i % nodes. */
function close(made: WaitWorld, ring: number[], kind: WaitKind): void {
  ring.forEach((index, i) => {
    made.call(at(made, index), kind, at(made, ring[(i + 1) % ring.length] ?? 0));
  });
}

const locked = (made: WaitWorld): number[] =>
  made.procs.flatMap((proc, index) => (proc.outcome === 'ELOCKED' ? [index] : []));

describe('a cycle of calls across nodes', () => {
  for (const kind of ['send', 'sendrec', 'receive'] as const) {
    it(`of ${kind} ends at one of its members, on two nodes and on three`, () => {
      const two = world();
      close(two, [0, 1], kind);
      two.clock.advance(2_000);
      const three = world();
      close(three, [0, 1, 2], kind);
      three.clock.advance(2_000);
      expect([locked(two).length, locked(three).length]).toEqual([1, 1]);
    });
  }

  it('may come to one node several times, and have waits on one node in it', () => {
    const made = world({ nodes: 2, processes: 10 });
    close(made, [0, 2, 4, 1, 3, 6, 5, 7, 8, 9], 'sendrec');
    made.clock.advance(2_000);
    expect(locked(made)).toHaveLength(1);
  });

  it('is found within half a second, also when its first wait is old', () => {
    const made = world();
    made.call(at(made, 0), 'sendrec', at(made, 1));
    made.clock.advance(600_000);
    made.call(at(made, 1), 'sendrec', at(made, 0));
    made.clock.advance(500);
    expect(locked(made)).toHaveLength(1);
  });

  it('is broken where a server is in it, so that the clients wait on', () => {
    for (let seed = 0; seed < 20; seed++) {
      const made = world({ seed });
      close(made, [0, 1, 2, 3], 'sendrec');
      made.clock.advance(2_000);
      const [victim] = locked(made);
      const levels = [0, 1, 2, 3].map((index) => at(made, index).level);
      expect(at(made, victim ?? 5).level).toBe(Math.max(...levels));
    }
  });

  it('does not stop those who wait for it from outside', () => {
    const made = world();
    made.call(at(made, 3), 'sendrec', at(made, 1));
    close(made, [1, 2], 'send');
    made.clock.advance(10_000);
    expect(at(made, 3).wait).toBeDefined();
    expect(locked(made)).toHaveLength(1);
  });
});

describe('no cycle', () => {
  it('is a path that ends at a slow server, however long it takes', () => {
    const made = world();
    for (const index of [0, 1, 2, 3]) made.call(at(made, index), 'sendrec', at(made, index + 1));
    made.clock.advance(600_000);
    expect(locked(made)).toEqual([]);
    // A few probes a wait in ten minutes, each over three links at most.
    expect(made.probes).toBeLessThan(4 * 140 * 3);
  });

  it('are two of which one sends and the other receives', () => {
    const made = world({ delayMs: 2_000 });
    made.call(at(made, 0), 'receive', at(made, 1));
    made.call(at(made, 1), 'send', at(made, 0));
    made.clock.advance(10_000);
    expect([at(made, 0).outcome, at(made, 1).outcome]).toEqual(['done', 'done']);
  });

  it('is one with a notification on its way, which probes have overtaken', () => {
    const made = world({ delayOf: (from, to) => (from === 1 && to === 0 ? 5_000 : 5) });
    made.call(at(made, 0), 'receive', at(made, 1));
    made.notify(at(made, 1), at(made, 0));
    made.call(at(made, 1), 'sendrec', at(made, 2));
    made.call(at(made, 2), 'send', at(made, 0));
    made.clock.advance(QUIET_MS);
    expect(locked(made)).toEqual([]);
    expect(at(made, 0).outcome).toBe('done');
  });

  it('are waits that never stood at the same time, however often a probe finds them', () => {
    for (let seed = 0; seed < 50; seed++) {
      // A round takes 40 ms, as long as the others' two turns.
      const made = world({ seed, delayOf: (from, to) => (from === 0 && to === 1 ? 20 : 10) });
      at(made, 0).level = 2;
      made.call(at(made, 0), 'sendrec', at(made, 1));
      for (let turn = 0; turn < 100; turn++) {
        const [waiter, target] = turn % 2 === 0 ? [1, 2] : [2, 0];
        made.call(at(made, waiter), 'sendrec', at(made, target));
        made.clock.advance(20);
        made.timeOut(at(made, waiter));
      }
      expect(locked(made)).toEqual([]);
    }
  });
});

describe('whatever happens', () => {
  for (const [name, restless, loss] of [
    ['no phantom is found, and each cycle is broken once', false, 0],
    ['the same with time-outs and answers in the middle of waits', true, 0],
    ['the same with a part of the probes lost', true, 0.05],
  ] as const) {
    it(name, () => {
      let cycles = 0;
      fc.assert(
        fc.property(
          fc.record({
            seed: fc.integer({ min: 1 }),
            nodes: fc.integer({ min: 2, max: 4 }),
            processes: fc.integer({ min: 2, max: 10 }),
            delayMs: fc.integer({ min: 1, max: 300 }),
            paceMs: fc.integer({ min: 1, max: 100 }),
          }),
          ({ paceMs, ...options }) => {
            const made = world({ ...options, restless, loss });
            for (let i = 0; i < STIRS; i++) {
              made.stir();
              made.clock.advance(made.random() * paceMs);
            }
            for (let spent = 0; spent < PATIENCE_MS && made.standing().length > 0; spent += 5_000) {
              made.clock.advance(5_000);
            }
            expect(made.standing().map((cycle) => cycle.map(describeWait))).toEqual([]);
            made.clock.advance(QUIET_MS);
            cycles += made.cycles.size;
          },
        ),
        { numRuns: RUNS },
      );
      // The runs must have had something to find.
      expect(cycles).toBeGreaterThan(RUNS / 4);
    });
  }
});

describe('a node that forges probes', () => {
  it('fails calls that wait for its own processes in the end, and no others', () => {
    let harmed = 0;
    fc.assert(
      fc.property(fc.integer({ min: 1 }), fc.integer({ min: 3, max: 9 }), (seed, processes) => {
        const made = world({ seed, processes, delayMs: 50, forger: 2 });
        for (let i = 0; i < STIRS; i++) {
          made.stir();
          made.clock.advance(made.random() * 100);
        }
        made.clock.advance(2_000);
        harmed += made.harmed;
      }),
      { numRuns: RUNS / 6 },
    );
    // It must have done its best.
    expect(harmed).toBeGreaterThan(0);
  });
});
