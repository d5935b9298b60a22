// The core does what the model of test/support/ipc-model.ts does, for random programs of calls
// among four processes. Method: each program runs on both, step by step; a program that differs is
// made smaller until nothing can be left out, and is printed with its seed and path.
//
// DVK_MODEL_RUNS, DVK_MODEL_SEED and DVK_MODEL_PATH choose how many programs, and which.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IpcWorld, PARTIES, type Step } from '../support/ipc-world.ts';

const RUNS = Number(process.env['DVK_MODEL_RUNS'] ?? 400);
const SEED = Number(process.env['DVK_MODEL_SEED'] ?? 0x5eed);
const PATH = process.env['DVK_MODEL_PATH'] ?? '';
const STEPS_MAX = 60;

const who = fc.nat(PARTIES - 1);
const flag = fc.boolean();

const steps: [number, fc.Arbitrary<Step>][] = [
  [6, fc.record({ do: fc.constant('bind'), who, server: flag, mortal: flag })],
  [1, fc.record({ do: fc.constantFrom('unbind', 'kill'), who })],
  [2, fc.record({ do: fc.constant('wakeup'), who })],
  [8, fc.record({ do: fc.constant('send'), who, to: who, now: flag })],
  [10, fc.record({ do: fc.constant('sendrec'), who, to: who, now: flag })],
  [8, fc.record({ do: fc.constant('reply'), who, to: who })],
  [4, fc.record({ do: fc.constant('notify'), who, to: who })],
  [8, fc.record({ do: fc.constant('receive'), who, from: fc.constant(undefined), now: flag })],
  [6, fc.record({ do: fc.constant('receive'), who, from: who, now: flag })],
  [8, fc.record({ do: fc.constant('rcvrqst'), who, now: flag })],
  [3, fc.record({ do: fc.constant('cancel'), who, late: flag })],
  [8, fc.constant({ do: 'turn' })],
];
const step = fc.oneof(...steps.map(([weight, arbitrary]) => ({ weight, arbitrary })));

// All are bound at first, since nothing happens without; few containers end.
const program = fc
  .tuple(
    fc.tuple(...Array.from({ length: PARTIES }, () => fc.tuple(flag, flag))),
    fc.array(step, { maxLength: STEPS_MAX, size: 'max' }),
    fc.option(fc.nat(STEPS_MAX), { freq: 9 }),
  )
  .map(([binds, body, end]): Step[] => [
    ...binds.map(([server, mortal], index): Step => ({
      do: 'bind',
      who: index,
      server,
      mortal: mortal && !server,
    })),
    ...body.slice(0, end ?? STEPS_MAX),
    ...(end === null ? [] : [{ do: 'end' } as const]),
    ...body.slice(end ?? STEPS_MAX),
    { do: 'turn' },
  ]);

const lines = (program: Step[]): string =>
  program.map((one) => `  ${JSON.stringify(one)}`).join('\n');

describe('random programs of calls', () => {
  it('do on the core what they do on the model', async () => {
    const done = new Map<string, number>();

    const result = await fc.check(
      fc.asyncProperty(program, async (steps) => {
        const world = new IpcWorld();
        try {
          for (const one of steps) {
            if (await world.step(one)) done.set(one.do, (done.get(one.do) ?? 0) + 1);
          }
        } finally {
          await world.close();
        }
      }),
      { numRuns: RUNS, seed: SEED, path: PATH },
    );

    if (result.failed) {
      const [program] = result.counterexample ?? [[]];
      const replay = `DVK_MODEL_SEED=${result.seed} DVK_MODEL_PATH=${result.counterexamplePath}`;
      const cause = result.errorInstance;
      throw new Error(`the core differs from the model; ${replay}\n${lines(program)}`, { cause });
    }
    // Every kind of step was taken, so the programs are about something.
    if (PATH === '') expect([...done.keys()].sort()).toEqual(KINDS);
  }, 600_000);
});

const KINDS = [
  ...['bind', 'cancel', 'end', 'kill', 'notify', 'rcvrqst', 'receive', 'reply', 'send', 'sendrec'],
  ...['turn', 'unbind', 'wakeup'],
];
