/**
 * `dvk bench`: runs one bench and prints what came of it.
 *
 * Parameters: a full run is at least 7 runs of 200 ms a case, a smoke run 2 of 30 ms, which shows
 * that a bench works and nothing about speed.
 */
import { parseArgs } from 'node:util';

import { judge } from './bars.ts';
import { withCleanup, type Cleanup } from './cleanup.ts';
import { fsCases } from './fs.ts';
import { measure, type Case, type Row } from './harness.ts';
import { ipcCases } from './ipc.ts';
import { describeMachine, raisePriority } from './machine.ts';
import { allowedCpus, cpusOf, isPlacement, PLACEMENTS, type Placement } from './placement.ts';
import * as report from './report.ts';
import { COPY_SIZES, COPY_SIZES_SMOKE, vcopyCases } from './vcopy.ts';

interface Options {
  readonly bench: string;
  readonly json: boolean;
  readonly smoke: boolean;
  readonly placements: readonly Placement[];
  readonly cases: readonly string[];
  readonly runs: number | undefined;
}

interface Bench {
  readonly about: string;
  readonly placements: readonly Placement[];
  readonly baselines: readonly string[];
  readonly runs: number;
  cases(options: Options, cleanup: Cleanup): Promise<Case[]>;
}

const BENCHES: Readonly<Record<string, Bench>> = {
  ipc: {
    about: 'round trips of a 64-byte message',
    placements: PLACEMENTS,
    baselines: ['pure-spin', 'pipe', 'message-port'],
    runs: 7,
    cases: async (options, cleanup) => Promise.resolve(ipcCases(options.placements, cleanup)),
  },
  vcopy: {
    about: 'copies between two processes',
    placements: ['two-cores', 'one-core'],
    baselines: ['memcpy', 'unix-stream'],
    runs: 7,
    cases: async (options) =>
      Promise.resolve(
        vcopyCases(options.placements, options.smoke ? COPY_SIZES_SMOKE : COPY_SIZES),
      ),
  },
  fs: {
    about: 'sequential reads through a mount',
    placements: ['free'],
    baselines: ['host', 'passthrough'],
    runs: 5,
    cases: async ({ smoke, placements }, cleanup) =>
      fsCases(
        { smoke, placements, progress: report.printProgress, note: report.printError },
        cleanup,
      ),
  },
};

const RUN_MS = 200;
const WARM_UP_MS = 100;
const SMOKE = { runs: 2, runMs: 30, warmUpMs: 10 };
const USAGE_CODE = 2;
const FAILURE_CODE = 1;
const RUNS_MAX = 1000;

class UsageError extends Error {}

function usage(): string {
  const benches = Object.entries(BENCHES).map(
    ([name, { about }]) => `  ${name.padEnd(6)} ${about}`,
  );
  return [
    'usage: dvk bench NAME [--json] [--smoke] [--placement P]... [--case C]... [--runs N]',
    ...benches,
    `placements: ${PLACEMENTS.join(', ')}`,
  ].join('\n');
}

function parse(args: readonly string[]): Options | undefined {
  const { values, positionals } = parseArguments(args);
  if (values.help === true) return undefined;
  const [name = '', ...rest] = positionals;
  const bench = BENCHES[name];
  if (bench === undefined || rest.length > 0) throw new UsageError(usage());
  const placements = values.placement ?? bench.placements;
  const wrong = placements.find((text) => !isPlacement(text));
  if (wrong !== undefined) throw new UsageError(`there is no placement ${wrong}\n${usage()}`);
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (runs !== undefined && !(Number.isInteger(runs) && runs > 0 && runs <= RUNS_MAX)) {
    throw new UsageError(`--runs must be an integer from 1 to ${String(RUNS_MAX)}`);
  }
  return {
    bench: name,
    json: values.json === true,
    smoke: values.smoke === true,
    placements: placements.filter(isPlacement),
    cases: values.case ?? [],
    runs,
  };
}

function parseArguments(args: readonly string[]): ReturnType<typeof parseRaw> {
  try {
    return parseRaw(args);
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : String(error)}\n${usage()}`);
  }
}

// The type of what parseArgs returns follows from its argument.
function parseRaw(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: 'boolean' },
      smoke: { type: 'boolean' },
      placement: { type: 'string', multiple: true },
      case: { type: 'string', multiple: true },
      runs: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}

/** Leaves out placements that need more cores than there are, and cases that nobody asked for. */
function chosen(cases: readonly Case[], options: Options): Case[] {
  const kept = cases.filter(
    ({ name }) => options.cases.length === 0 || options.cases.includes(name),
  );
  const missing = options.cases.find((name) => !kept.some((subject) => subject.name === name));
  if (missing !== undefined) {
    const known = [...new Set(cases.map(({ name }) => name))].join(', ');
    throw new UsageError(`there is no case ${missing} here; there are ${known}`);
  }
  return kept;
}

async function runBench(bench: Bench, asked: Options): Promise<Row[]> {
  const allowed = allowedCpus();
  const placements = asked.placements.filter((name) => cpusOf(name, allowed) !== undefined);
  for (const placement of asked.placements.filter((name) => !placements.includes(name))) {
    report.printError(`placement ${placement} is left out: this machine has too few cores`);
  }
  const options = { ...asked, placements };
  return withCleanup(async (cleanup) => {
    const sizes = options.smoke ? SMOKE : { runs: bench.runs, runMs: RUN_MS, warmUpMs: WARM_UP_MS };
    return measure({
      cases: chosen(await bench.cases(options, cleanup), options),
      ...sizes,
      runs: options.runs ?? sizes.runs,
      progress: report.printProgress,
    });
  });
}

async function runAndReport(options: Options): Promise<void> {
  const bench = BENCHES[options.bench];
  if (bench === undefined) throw new UsageError(usage());
  raisePriority();
  const machine = describeMachine();
  const rows = await runBench(bench, options).finally(report.clearProgress);
  const verdicts = judge(options.bench, rows);
  const { baselines } = bench;
  const result = { bench: options.bench, machine, rows, verdicts, baselines };
  if (options.json) report.printDocument(result);
  else report.printReport(result);
}

/** Runs the bench that `args` name; returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const options = parse(args);
    if (options === undefined) report.printLine(usage());
    else await runAndReport(options);
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      report.printError(error.message);
      return USAGE_CODE;
    }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    report.printError(`error: ${text}`);
    return FAILURE_CODE;
  }
}
