/** `dvk up` and `dvk down`: their options. */
import { InvalidArgumentError, type Command } from 'commander';

import { bringDown } from './down.ts';
import { nameOption, sizeOption, wholeNumber, withDvs, type Selection } from './options.ts';
import { output } from './output.ts';
import { chooseDvs, DvsPaths, findRuntime, listDvs } from './runtime.ts';
import { up, type UpOptions } from './up.ts';

interface UpFlags extends Omit<UpOptions, 'bigFileBytes'> {
  readonly demoBigFile?: number;
}

interface DownFlags extends Selection {
  readonly all?: boolean;
}

export function register(program: Command): void {
  program
    .command('up')
    .description('bring a DVS up on this machine, from a spec or as the demo')
    .argument('[spec]', 'YAML file; without it, the demo')
    .option('--nodes <n>', 'nodes of the demo (default: 3)', nodeCount)
    .option('--detach', 'return when everything is up, and leave it running')
    .option('--runtime <dir>', 'runtime directory (default: $DVK_RUNTIME_DIR)')
    .option('--name <dvs>', 'name of the DVS, instead of the one in the spec', nameOption)
    .option('--writable', 'let the mount of the demo be written to, by one demo at a time')
    .option('--demo-big-file <size>', 'size of the large file in the demo', sizeOption)
    .option('--cluster <dir>', 'certificates (default: those of dvk init, or new ones)')
    .option('--insecure', 'links in plain text, without certificates: for benches only')
    .option('--json', 'print the result as one JSON document')
    .action(async (spec: string | undefined, { demoBigFile, ...flags }: UpFlags) => {
      await up(spec, {
        ...flags,
        ...(demoBigFile !== undefined && { bigFileBytes: demoBigFile }),
      });
    });
  withDvs(program.command('down'))
    .description('end a DVS and remove everything of it, also after a crash')
    .option('--all', 'every DVS of the runtime directory')
    .action(down);
}

const NODES_MAX = 64;

function nodeCount(text: string): number {
  const count = wholeNumber(text);
  if (count >= 1 && count <= NODES_MAX) return count;
  throw new InvalidArgumentError(`give a whole number from 1 to ${String(NODES_MAX)}.`);
}

async function down({ runtime, name, all }: DownFlags): Promise<void> {
  const { directory } = findRuntime(runtime);
  const present = listDvs(directory);
  const wanted = name === undefined ? present : present.filter((one) => one === name);
  if (wanted.length === 0) {
    const what = name === undefined ? 'no DVS' : `no DVS ${name}`;
    output.note(`nothing to bring down: there is ${what} under ${directory}`);
    return;
  }
  const names = all === true || name !== undefined ? wanted : [chooseDvs(directory, name).dvs];
  for (const dvs of names) {
    output.note(`bringing DVS ${dvs} down`, 'bold');
    const done = await bringDown(new DvsPaths(directory, dvs));
    if (!done) output.note(`DVS ${dvs} had gone already`);
  }
}
