/** What the user asks of `dvk bench`. */
import { parseArgs } from 'node:util';

import { isPlacement, PLACEMENTS, type Placement } from './placement.ts';

export interface Options {
  readonly bench: string;
  readonly json: boolean;
  readonly smoke: boolean;
  /** Whether the results go to bench/results. */
  readonly save: boolean;
  /** Undefined for the bench's own. */
  readonly placements: readonly Placement[] | undefined;
  /** Numbers of pairs; undefined for the bench's own. */
  readonly pairs: readonly number[] | undefined;
  /** Whether Node programs are started anew for each run. */
  readonly fresh: boolean;
  /** Names of cases; none for all. */
  readonly cases: readonly string[];
  readonly runs: number | undefined;
}

const RUNS_MAX = 1000;
// Slots of the benches' containers, and processes that a small machine can still start.
export const PAIRS_MAX = 8;

/** Wrong use; the message says what is right. */
export class UsageError extends Error {}

const OPTIONS = {
  json: { type: 'boolean' },
  smoke: { type: 'boolean' },
  save: { type: 'boolean' },
  fresh: { type: 'boolean' },
  placement: { type: 'string', multiple: true },
  pairs: { type: 'string', multiple: true },
  case: { type: 'string', multiple: true },
  runs: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

export const USAGE: readonly string[] = [
  'usage: dvk bench NAME [--json] [--save] [--smoke] [--placement P]... [--pairs N,...]',
  '                      [--case C]... [--runs N] [--fresh]',
  `placements: ${PLACEMENTS.join(', ')}`,
];

/** Undefined when the user asks for help. Throws UsageError. */
export function parse(args: readonly string[]): Options | undefined {
  const { values, positionals } = parseArguments(args);
  if (values.help === true) return undefined;
  const [bench, ...rest] = positionals;
  if (bench === undefined || rest.length > 0) throw new UsageError(USAGE.join('\n'));
  return {
    bench,
    json: values.json === true,
    smoke: values.smoke === true,
    save: values.save === true,
    fresh: values.fresh === true,
    placements: values.placement?.map(placementOf),
    pairs: values.pairs
      ?.flatMap((text) => text.split(','))
      .map((text) => integer('--pairs', text, PAIRS_MAX)),
    cases: values.case ?? [],
    runs: values.runs === undefined ? undefined : integer('--runs', values.runs, RUNS_MAX),
  };
}

// The type of what parseArgs returns follows from its argument.
function parseArguments(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options: OPTIONS });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${reason}\n${USAGE.join('\n')}`);
  }
}

function placementOf(text: string): Placement {
  if (isPlacement(text)) return text;
  throw new UsageError(`there is no placement ${text}\n${USAGE.join('\n')}`);
}

function integer(name: string, text: string, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value <= most) return value;
  throw new UsageError(`${name} must be an integer from 1 to ${String(most)}`);
}
