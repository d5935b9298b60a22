/** Options that many commands share, and what they choose. */
import { InvalidArgumentError, type Command } from 'commander';

import { isName, NAME_RULE, parseSize } from '../vos/spec-reader.ts';
import { Cluster } from './cluster.ts';
import { inspect, requireState, type DvsStatus, type ProxyStatus } from './inspect.ts';
import { withLock } from './lock.ts';
import { CliError } from './output.ts';
import { chooseDvs, findRuntime, type DvsPaths, type DvsState } from './runtime.ts';

/** Which DVS a command is about, and how it shows what it found. */
export interface Selection {
  readonly runtime?: string;
  readonly name?: string;
  readonly json?: boolean;
}

export function withRuntime(command: Command): Command {
  return command.option('--runtime <dir>', 'runtime directory (default: $DVK_RUNTIME_DIR)');
}

/** --runtime and --name. */
export function withDvs(command: Command): Command {
  return withRuntime(command).option('--name <dvs>', 'the DVS, when there are several');
}

/** --runtime, --name and --json. */
export function withSelection(command: Command): Command {
  return withDvs(command).option('--json', 'one JSON document instead of text');
}

export function select({ runtime, name }: Selection): DvsPaths {
  return chooseDvs(findRuntime(runtime).directory, name);
}

export async function inspectSelected(selection: Selection): Promise<DvsStatus> {
  return await inspect(select(selection));
}

/** A DVS that is held for a change. */
export interface Held {
  readonly paths: DvsPaths;
  readonly state: DvsState;
  readonly cluster: Cluster;
}

/** Runs `work` with the lock of the chosen DVS, and with connections to its daemons. */
export async function change(
  selection: Selection,
  work: (held: Held) => Promise<void>,
): Promise<void> {
  const paths = select(selection);
  const done = await withLock(paths.lock, async () => {
    const state = requireState(paths);
    const cluster = await Cluster.connect(paths, state);
    try {
      await work({ paths, state, cluster });
    } finally {
      cluster.close();
    }
    return true;
  });
  if (done === undefined) throw new CliError(`DVS ${paths.dvs} has been brought down meanwhile`);
}

/** A whole number that is not negative. */
export function wholeNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('give a whole number.');
}

export function nameOption(text: string): string {
  if (isName(text)) return text;
  throw new InvalidArgumentError(`${NAME_RULE}.`);
}

export function sizeOption(text: string): number {
  const bytes = parseSize(text);
  if (bytes !== undefined) return bytes;
  throw new InvalidArgumentError('give a size, as 1 GiB or 64MiB.');
}

/** The node of that number or name. Throws a CliError that lists the nodes. */
export function findNode(state: DvsState, wanted: string): number {
  const node = state.spec.nodes.find(({ id, name }) => String(id) === wanted || name === wanted);
  if (node !== undefined) return node.id;
  const known = state.spec.nodes.map(({ id, name }) => `${String(id)} (${name})`).join(', ');
  throw new CliError(`DVS ${state.spec.dvs} has no node ${wanted}`, `Its nodes are ${known}.`);
}

/** The proxy of the node of that number or name. Throws a CliError that lists them. */
export function findProxy({ proxies, nodes }: DvsStatus, wanted: string): ProxyStatus {
  const node = nodes.find(({ id, name }) => String(id) === wanted || name === wanted);
  return findOne(proxies, (one) => one.node === node?.id, {
    what: `proxy of node ${wanted}`,
    names: proxies.map((one) => one.node),
  });
}

/** The one of `items` that `matches`, or a CliError that says what there is. */
export function findOne<T>(
  items: readonly T[],
  matches: (item: T) => boolean,
  { what, names }: { what: string; names: readonly (string | number)[] },
): T {
  const found = items.find(matches);
  if (found !== undefined) return found;
  const known = names.length === 0 ? 'There is none.' : `There are ${names.join(', ')}.`;
  throw new CliError(`there is no ${what}`, known);
}
