/**
 * `dvk soak`: faults on purpose, for as long as one likes. What it runs lives outside of `src`,
 * beside the benches, and is loaded only when it is asked for.
 */
import { InvalidArgumentError, type Command } from 'commander';

import { CliError, ExitCode, output } from './output.ts';

const SOAK = new URL('../../bench/soak/main.js', import.meta.url).href;
const DEFAULT_MINUTES = 30;
const SEEDS = 2 ** 31;

interface SoakOptions {
  readonly links?: boolean;
  readonly minutes: number;
  readonly seed?: number;
  readonly json?: boolean;
}

/** What bench/soak/main exports. */
interface Soaks {
  soakLinks(options: {
    minutes: number;
    seed: number;
    json: boolean;
    line: (text: string) => void;
    note: (text: string) => void;
  }): Promise<boolean>;
}

export function register(program: Command): void {
  program
    .command('soak')
    .description('chaos from a seed on three nodes of this machine; every answer is verified')
    .option('--links', 'links cut, proxies killed, nodes stopped, datagrams lost')
    .option('--minutes <n>', 'how long, fractions too', parseMinutes, DEFAULT_MINUTES)
    .option('--seed <n>', 'the faults of an earlier run (default: any)', parseSeed)
    .option('--json', 'one JSON document instead of text')
    .action(soak);
}

async function soak({ links, minutes, seed, json }: SoakOptions): Promise<void> {
  if (links !== true) {
    const remedy = 'Say what to soak: dvk soak --links';
    throw new CliError('there is nothing to soak', remedy, ExitCode.USAGE);
  }
  const isWell = await (
    await load()
  ).soakLinks({
    minutes,
    seed: seed ?? Math.floor(Math.random() * SEEDS),
    json: json === true,
    line: (text) => {
      output.line(text);
    },
    note: (text) => {
      output.note(text);
    },
  });
  process.exitCode = isWell ? ExitCode.SUCCESS : ExitCode.FAILURE;
}

function parseMinutes(text: string): number {
  const minutes = Number(text);
  if (text.trim() === '' || !(minutes > 0 && minutes <= 100_000)) {
    throw new InvalidArgumentError('it is a number of minutes above 0.');
  }
  return minutes;
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (!/^\d+$/.test(text) || seed >= SEEDS) {
    throw new InvalidArgumentError(`it is a whole number below ${String(SEEDS)}.`);
  }
  return seed;
}

async function load(): Promise<Soaks> {
  try {
    return (await import(SOAK)) as Soaks;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new CliError('the soak runs are not built', 'Build them: npm run build');
  }
}
