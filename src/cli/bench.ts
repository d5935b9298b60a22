/**
 * `dvk bench`: the benches, which live outside of `src` and are loaded only when they are asked
 * for.
 */
import type { Command } from 'commander';

import { CliError } from './output.ts';

const BENCHES = new URL('../../bench/main.js', import.meta.url).href;

/** What bench/main exports: runs a bench, and returns the exit code. */
interface Benches {
  main(args: readonly string[]): Promise<number>;
}

export function register(program: Command): void {
  program
    .command('bench')
    .description('measure: dvk bench NAME [--json] [--save] [--smoke]; see dvk bench --help')
    .argument('[arguments...]')
    .allowUnknownOption()
    .helpOption(false)
    .action(async (args: string[]) => {
      process.exitCode = await (await load()).main(args);
    });
}

async function load(): Promise<Benches> {
  try {
    return (await import(BENCHES)) as Benches;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new CliError('the benches are not built', 'Build them: npm run build');
  }
}
