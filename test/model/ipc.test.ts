// The core does what the model of test/support/ipc-model.ts does, for random programs of calls
// among four processes. Method: each program runs on both, step by step; a program that differs is
// made smaller until nothing can be left out, and is printed with its seed and path.
//
// DVK_MODEL_RUNS, DVK_MODEL_SEED and DVK_MODEL_PATH choose how many programs, and which.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IpcWorld, PARTIES, type Rule, type Step } from '../support/ipc-world.ts';

const RUNS = Number(process.env['DVK_MODEL_RUNS'] ?? 400);
const SEED = Number(process.env['DVK_MODEL_SEED'] ?? 0x5eed);
const PATH = process.env['DVK_MODEL_PATH'] ?? '';
const STEPS_MAX = 60;

const who = fc.nat(PARTIES - 1);
const flag = fc.boolean();
const often = fc.nat(3).map((n) => n > 0);

const posting = fc.oneof(
  fc.record({
    tells: fc.constantFrom('always' as const, 'failed' as const, 'never' as const),
    forget: fc.constant(false as const),
  }),
  fc.constant({ tells: 'never' as const, forget: true as const }),
);
const type = fc.oneof(fc.nat(2), fc.constant('notify' as const));
const rule: fc.Arbitrary<Rule> = fc.oneof(
  fc.record({ source: who }),
  fc.record({ type }),
  fc.record({ source: who, type }),
);
// More than 8 are refused.
const rules = fc.oneof(
  { weight: 9, arbitrary: fc.array(rule, { maxLength: 3 }) },
  { weight: 1, arbitrary: fc.array(rule, { minLength: 8, maxLength: 9 }) },
);

const steps: [number, fc.Arbitrary<Step>][] = [
  [6, fc.record({ do: fc.constant('bind'), who, server: flag, mortal: flag })],
  [1, fc.record({ do: fc.constantFrom('unbind', 'kill'), who })],
  [2, fc.record({ do: fc.constant('wakeup'), who })],
  [8, fc.record({ do: fc.constant('send'), who, to: who, now: flag })],
  [10, fc.record({ do: fc.constant('sendrec'), who, to: who, now: flag })],
  [8, fc.record({ do: fc.constant('reply'), who, to: fc.constant(undefined) })],
  [3, fc.record({ do: fc.constant('reply'), who, to: who })],
  [4, fc.record({ do: fc.constant('notify'), who, to: who })],
  [8, fc.record({ do: fc.constant('receive'), who, from: fc.constant(undefined), now: flag })],
  [6, fc.record({ do: fc.constant('receive'), who, from: who, now: flag })],
  [8, fc.record({ do: fc.constant('rcvrqst'), who, now: flag })],
  [8, fc.record({ do: fc.constant('relay'), who, client: fc.constant(undefined), to: who })],
  [2, fc.record({ do: fc.constant('relay'), who, client: who, to: who })],
  [6, fc.tuple(who, who, posting).map(([who, to, how]) => ({ do: 'senda', who, to, ...how }))],
  [4, fc.record({ do: fc.constantFrom('sendaStatus', 'sendaCancel'), who, which: fc.nat(9) })],
  [
    3,
    fc.record({
      do: fc.constant('filter'),
      who,
      allow: fc.option(flag, { nil: undefined }),
      rules,
    }),
  ],
  [3, fc.record({ do: fc.constant('cancel'), who, late: flag })],
  [8, fc.constant({ do: 'turn' })],
];
const step = fc.oneof(...steps.map(([weight, arbitrary]) => ({ weight, arbitrary })));

// What belongs together is rare among random steps. Each step of a phrase may be left out.
const now = false;
const phrases: ((a: number, b: number, c: number) => Step[])[] = [
  (a, b) => [
    { do: 'sendrec', who: a, to: b, now },
    { do: 'rcvrqst', who: b, now },
    { do: 'turn' },
    { do: 'reply', who: b, to: undefined },
    { do: 'turn' },
  ],
  (a, b, c) => [
    { do: 'sendrec', who: a, to: b, now },
    { do: 'rcvrqst', who: b, now },
    { do: 'turn' },
    { do: 'relay', who: b, client: undefined, to: c },
    { do: 'rcvrqst', who: c, now },
    { do: 'turn' },
    { do: 'reply', who: c, to: undefined },
    { do: 'turn' },
  ],
  (a, b) => [
    { do: 'receive', who: b, from: undefined, now },
    { do: 'senda', who: a, to: b, tells: 'always', forget: false },
    { do: 'turn' },
    { do: 'sendaStatus', who: a, which: 0 },
    { do: 'receive', who: a, from: undefined, now },
    { do: 'turn' },
  ],
];
const PHRASE_STEPS = 8;
const phrase = fc
  .tuple(
    fc.constantFrom(...phrases),
    fc.tuple(who, who, who),
    fc.array(fc.nat(9), { minLength: PHRASE_STEPS, maxLength: PHRASE_STEPS }),
  )
  .map(([make, parties, kept]) => make(...parties).filter((_, index) => kept[index] !== 0));

const pieces = fc.array(
  fc.oneof({ weight: 8, arbitrary: step.map((one) => [one]) }, { weight: 1, arbitrary: phrase }),
  { maxLength: STEPS_MAX, size: 'max' },
);

// All are bound at first, since nothing happens without; few containers end.
const program = fc
  .tuple(
    fc.tuple(...Array.from({ length: PARTIES }, () => fc.tuple(often, flag))),
    pieces.map((some) => some.flat()),
    fc.oneof(
      { weight: 9, arbitrary: fc.constant(null) },
      { weight: 1, arbitrary: fc.nat(STEPS_MAX) },
    ),
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
    const results = new Map<string, number>();

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
        for (const [what, count] of world.results)
          results.set(what, (results.get(what) ?? 0) + count);
      }),
      { numRuns: RUNS, seed: SEED, path: PATH },
    );

    if (result.failed) {
      const [program] = result.counterexample ?? [[]];
      const replay = `DVK_MODEL_SEED=${result.seed} DVK_MODEL_PATH=${result.counterexamplePath}`;
      const cause = result.errorInstance;
      throw new Error(`the core differs from the model; ${replay}\n${lines(program)}`, { cause });
    }
    // Every kind of step was taken and came to something, so the programs are about something.
    if (PATH === '') {
      expect([...done.keys()].sort()).toEqual(KINDS);
      expect(RESULTS.filter((result) => !results.has(result))).toEqual([]);
    }
  }, 600_000);
});

const KINDS = [
  ...['bind', 'cancel', 'end', 'filter', 'kill', 'notify', 'rcvrqst', 'receive', 'relay', 'reply'],
  ...['send', 'senda', 'sendaCancel', 'sendaStatus', 'sendrec', 'turn', 'unbind', 'wakeup'],
];
const RESULTS = [
  ...['ended ELOCKED', 'ended ok', 'filter EBUSY', 'filter EINVAL', 'filter ok', 'notify ok'],
  ...['received async', 'received call', 'received notify', 'received send', 'relay EDVSPROCSTS'],
  ...['relay ETRAPDENIED', 'relay ok', 'reply ok', 'senda ok', 'sendaCancel ok', 'sendaStatus ok'],
  ...['sendaStatus pending', 'sendaStatus EINVAL'],
];
