/**
 * `dvk bench`: runs one bench and prints what came of it.
 *
 * Parameters: a full run is at least 7 runs of 200 ms a case, a smoke run 2 of 15 ms, which shows
 * that a bench works and nothing about speed.
 */
import { judge } from './bars.ts';
import { withCleanup, type Cleanup } from './cleanup.ts';
import { fsCases } from './fs.ts';
import { measure, type Case, type Plan, type Row } from './harness.ts';
import { amongHogs } from './hogs.ts';
import { idleRows } from './idle.ts';
import {
  ipcCases,
  notifyCases,
  sendaCases,
  traceCases,
  wakeCases,
  type IpcOptions,
} from './ipc.ts';
import { describeMachine, raisePriority } from './machine.ts';
import { parse, USAGE, UsageError, type Options } from './options.ts';
import { allowedCpus, cpusOf, PLACEMENTS, type Placement } from './placement.ts';
import { proxyCases } from './proxy.ts';
import * as report from './report.ts';
import { saveReport } from './save.ts';
import { COPY_SIZES, COPY_SIZES_SMOKE, vcopyCases } from './vcopy.ts';

/** What a bench is run with: what the user asked for, and the bench's own where nothing. */
interface Setting extends IpcOptions {
  readonly smoke: boolean;
  /** Names of cases; none for all. */
  readonly cases: readonly string[];
  readonly plan: Omit<Plan, 'cases'>;
}

interface Bench {
  readonly about: string;
  readonly placements: readonly Placement[];
  readonly baselines: readonly string[];
  /** Of its runs, where they differ from those of the others. */
  readonly sizes?: {
    readonly runMs?: number;
    readonly smokeMs?: number;
    readonly warmUpMs?: number;
  };
  /** Options that mean nothing to it. */
  readonly refuses?: readonly ('placement' | 'pairs' | 'case' | 'fresh')[];
  run(setting: Setting, cleanup: Cleanup): Promise<Row[]>;
}

const PINNED: readonly Placement[] = ['two-cores', 'one-core'];
const IDLE_PROCESSES = { full: 100, smoke: 6 };

const BENCHES: Readonly<Record<string, Bench>> = {
  ipc: {
    about: 'round trips of a 64-byte message',
    placements: PLACEMENTS,
    baselines: ['pure-spin', 'futex', 'pipe', 'unix-stream', 'message-port'],
    run: async (setting, cleanup) => runCases(ipcCases(setting, cleanup), setting),
  },
  wake: {
    about: 'event loops that wake each other',
    placements: PINNED,
    baselines: ['loop-eventfd', 'futex'],
    run: async (setting, cleanup) => runCases(wakeCases(setting, cleanup), setting),
  },
  notify: {
    about: 'notifications, to and fro and one way',
    placements: PINNED,
    baselines: ['pure-spin', 'dvk-c-sendrec', 'eventfd'],
    run: async (setting, cleanup) => runCases(notifyCases(setting, cleanup), setting),
  },
  senda: {
    about: 'messages one way',
    placements: PINNED,
    refuses: ['fresh'],
    baselines: ['dvk-c-send', 'pipe', 'unix-seqpacket'],
    run: async (setting) => runCases(sendaCases(setting), setting),
  },
  trace: {
    about: 'round trips with and without a watcher',
    placements: PINNED,
    baselines: ['dvk-c-sendrec', 'dvk-ts-sendrec'],
    run: async (setting, cleanup) => runCases(traceCases(setting, cleanup), setting),
  },
  vcopy: {
    about: 'copies between two processes',
    placements: PINNED,
    refuses: ['fresh'],
    baselines: ['memcpy', 'unix-stream', 'pipe'],
    run: async (setting) => {
      const sizes = setting.smoke ? COPY_SIZES_SMOKE : COPY_SIZES;
      return runCases(vcopyCases({ ...setting, sizes, pairs: setting.pairs ?? [1] }), setting);
    },
  },
  proxy: {
    about: 'calls and copies between two nodes',
    placements: ['two-cores', 'free'],
    // By then the code of proxies, which live long, is compiled.
    sizes: { warmUpMs: 1500 },
    refuses: ['pairs', 'fresh'],
    baselines: ['tcp', 'udp', 'node-tcp', 'node-udp'],
    run: async (setting, cleanup) => runCases(proxyCases(setting, cleanup), setting),
  },
  idle: {
    about: 'CPU time of processes that wait',
    placements: ['free'],
    baselines: [],
    // Who blocks looks after 1, 3, 7 and 15 s, then every 8 s: once in each round at least.
    sizes: { runMs: 9000, smokeMs: 100, warmUpMs: 16_000 },
    refuses: ['placement', 'pairs', 'case', 'fresh'],
    run: async ({ smoke, plan }, cleanup) =>
      idleRows({ ...plan, processes: IDLE_PROCESSES[smoke ? 'smoke' : 'full'] }, cleanup),
  },
  fs: {
    about: 'files through a mount, by one client and by several',
    placements: ['free'],
    baselines: ['host', 'passthrough', 'sshfs', 'glusterfs'],
    refuses: ['fresh'],
    run: async (setting, cleanup) => {
      const own = { ...setting, clients: setting.pairs, progress: report.printProgress };
      const cases = await fsCases(own, cleanup);
      return runCases(cases, setting);
    },
  },
};

const FULL = { runs: 7, runMs: 200, warmUpMs: 100 };
const SMOKE = { runs: 2, runMs: 15, warmUpMs: 5 };
const USAGE_CODE = 2;
const FAILURE_CODE = 1;

function usage(): string {
  const benches = Object.entries(BENCHES).map(
    ([name, { about }]) => `  ${name.padEnd(6)} ${about}`,
  );
  return [...USAGE, 'benches:', ...benches].join('\n');
}

/** Leaves out cases that nobody asked for, and gives hogs to those that run among them. */
function chosen(cases: readonly Case[], names: readonly string[]): Case[] {
  const kept = cases.filter(({ name }) => names.length === 0 || names.includes(name));
  const missing = names.find((name) => !kept.some((subject) => subject.name === name));
  if (missing !== undefined) {
    const known = [...new Set(cases.map(({ name }) => name))].join(', ');
    throw new UsageError(`there is no case ${missing} here; there are ${known}`);
  }
  return kept.map((subject) =>
    subject.placement === 'one-core-hogs' ? amongHogs(subject) : subject,
  );
}

/** Runs the cases of one placement next to each other: they are what is compared. */
async function runCases(cases: readonly Case[], { plan, cases: names }: Setting): Promise<Row[]> {
  const place = ({ placement }: Case): number => PLACEMENTS.indexOf(placement);
  const sorted = chosen(cases, names).sort((a, b) => place(a) - place(b));
  return measure({ ...plan, cases: sorted });
}

/** Leaves out placements that need more cores than there are. */
function possible(placements: readonly Placement[]): Placement[] {
  const allowed = allowedCpus();
  return placements.filter((placement) => {
    const enough = cpusOf(placement, allowed) !== undefined;
    if (!enough) {
      report.printError(`placement ${placement} is left out: this machine has too few cores`);
    }
    return enough;
  });
}

async function runBench(bench: Bench, options: Options): Promise<Row[]> {
  const { runMs, smokeMs, warmUpMs } = bench.sizes ?? {};
  const sizes = options.smoke
    ? { ...SMOKE, runMs: smokeMs ?? SMOKE.runMs }
    : { ...FULL, runMs: runMs ?? FULL.runMs, warmUpMs: warmUpMs ?? FULL.warmUpMs };
  const setting: Setting = {
    smoke: options.smoke,
    placements: possible(options.placements ?? bench.placements),
    pairs: options.pairs,
    fresh: options.fresh,
    note: report.printError,
    cases: options.cases,
    plan: { ...sizes, runs: options.runs ?? sizes.runs, progress: report.printProgress },
  };
  return withCleanup(async (cleanup) => bench.run(setting, cleanup));
}

function benchOf(options: Options): Bench {
  const bench = BENCHES[options.bench];
  if (bench === undefined) throw new UsageError(usage());
  const given = {
    placement: options.placements !== undefined,
    pairs: options.pairs !== undefined,
    case: options.cases.length > 0,
    fresh: options.fresh,
  };
  const wrong = bench.refuses?.find((name) => given[name]);
  if (wrong !== undefined) throw new UsageError(`${options.bench} does not know --${wrong}`);
  return bench;
}

async function runAndReport(options: Options): Promise<void> {
  const bench = benchOf(options);
  raisePriority();
  const machine = describeMachine();
  const rows = await runBench(bench, options).finally(report.clearProgress);
  const verdicts = judge(options.bench, rows);
  const { baselines } = bench;
  const { fresh } = options;
  const result = { bench: options.bench, fresh, machine, rows, verdicts, baselines };
  if (options.json) report.printDocument(result);
  else report.printReport(result);
  if (!options.save) return;
  for (const path of saveReport(result)) report.printError(`wrote ${path}`);
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
