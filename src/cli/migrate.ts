/** `dvk migrate`: moves a process to another node of its container. */
import type { Command } from 'commander';

import { formatEndpoint } from '../dvk/endpoint.ts';
import { isDvkError, nodeId, Segment } from '../dvk/index.ts';
import { inspectProcesses, requireState, type ProcessStatus } from './inspect.ts';
import {
  findNode,
  findOne,
  select,
  wholeNumber,
  withSelection,
  type Selection,
} from './options.ts';
import { CliError, output } from './output.ts';

interface MigrateOptions extends Selection {
  readonly to: string;
  readonly timeout: number;
}

const TIMEOUT_MS = 5000;
/** What can be done about an error. */
const HINTS: Readonly<Record<string, string>> = {
  ESRCH: 'No backup of it lives on that node; start one there first.',
  EDVSPROCSTS: 'It owes replies, holds grants or arena memory, or is bound not to move.',
  ETIMEDOUT: 'It did not stop in time, or a node did not answer; it goes on where it was.',
  EDVSBADPROC: 'Only processes in fixed slots move.',
  EDVSMIGRATING: 'Another move of it is under way.',
  ENOTCONN: 'Its state is settled when the link is up again; see `dvk proc info`.',
};

export function register(program: Command): void {
  withSelection(
    program
      .command('migrate')
      .argument('<process>', 'DC/ENDPOINT; the endpoint as number, slot.generation, or name')
      .requiredOption('--to <node>', 'number or name of the node'),
  )
    .option(
      '--timeout <ms>',
      'how long its callers wait at most for it to stop',
      wholeNumber,
      TIMEOUT_MS,
    )
    .description('move a process to a node where a backup of it stands by')
    .action(migrate);
}

/** The process where it lives. */
async function findOwner(wanted: string, selection: Selection): Promise<ProcessStatus> {
  const [container = '', process = ''] = wanted.split('/', 2);
  const living = (await inspectProcesses(select(selection))).filter(
    ({ seenBy, node, life }) => seenBy === node && life === 'local',
  );
  return findOne(
    living,
    (one) =>
      one.container === container &&
      [String(one.endpoint), formatEndpoint(one.endpoint), one.name].includes(process),
    {
      what: `process ${wanted}`,
      names: living.map((one) => `${one.container}/${formatEndpoint(one.endpoint)}`),
    },
  );
}

async function migrate(wanted: string, options: MigrateOptions): Promise<void> {
  const paths = select(options);
  const to = findNode(requireState(paths), options.to);
  const { container, endpoint, node, name } = await findOwner(wanted, options);
  const segment = Segment.open(paths.node(node).segment(container));
  try {
    await segment.migrations.migrate(endpoint, nodeId(to), {
      timeoutMs: options.timeout,
    });
  } catch (error) {
    if (!isDvkError(error)) throw error;
    throw new CliError(
      `${wanted} did not move to node ${String(to)}: ${error.message}`,
      HINTS[error.code],
    );
  } finally {
    segment.close();
  }
  if (options.json === true) {
    output.json({ container, endpoint, name, from: node, to });
    return;
  }
  const moved = `${container}/${formatEndpoint(endpoint)} (${name})`;
  output.line(`${moved} moved from node ${String(node)} to node ${String(to)}`);
}
