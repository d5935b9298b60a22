/** `dvk init` and `dvk cert`: the certificates by which the nodes of a DVS know each other. */
import { dirname, resolve } from 'node:path';

import { InvalidArgumentError, type Command } from 'commander';

import { parseSpec } from '../vos/spec.ts';
import { isName, NAME_RULE } from '../vos/spec-reader.ts';
import { Cluster } from './cluster.ts';
import { ClusterDirectory, defaultDirectory, NODE_DAYS } from './cluster-directory.ts';
import type { CertificateReport, CertificateState } from './cluster-directory.ts';
import { nameOption, wholeNumber, withSelection, type Selection } from './options.ts';
import { CliError, ExitCode, output, type Cell } from './output.ts';
import { DvsPaths, findRuntime, listDvs, readState, type DvsState } from './runtime.ts';
import { DEMO_NAME, DEMO_NODES, readSpec } from './up.ts';

interface CertSelection extends Selection {
  readonly cluster?: string;
}

interface InitFlags extends CertSelection {
  readonly nodes?: number;
  readonly days: number;
  readonly renew?: boolean;
}

interface IssueFlags extends CertSelection {
  readonly as?: string;
  readonly days: number;
}

type NodeName = Readonly<{ id: number; name: string }>;

const DAYS_MAX = 3650;

export function register(program: Command): void {
  withCertificates(program.command('init'))
    .description('make the CA of a DVS and the certificates of its nodes')
    .argument('[spec]', 'YAML file that names the DVS and its nodes; without it, those of the demo')
    .option('--nodes <n>', 'nodes 0 to n - 1, when there is no spec', wholeNumber)
    .option('--days <n>', 'how long certificates of nodes are good', days, NODE_DAYS)
    .option('--renew', 'keep the CA, and make the certificates of all nodes anew')
    .action(init);
  const cert = program.command('cert').description('certificates: ls, info, issue, deny');
  withCertificates(cert.command('ls')).description('list the certificates').action(list);
  withCertificates(cert.command('info').argument('<node>', 'number or name of a node, or ca'))
    .description('one certificate')
    .action(info);
  withCertificates(cert.command('issue').argument('<node>', 'number of the node', wholeNumber))
    .description('make a certificate for a node, also in place of the one that it has')
    .option(
      '--as <name>',
      'name of the node (default: as before, else node and the number)',
      asName,
    )
    .option('--days <n>', 'how long it is good', days, NODE_DAYS)
    .action(issue);
  withCertificates(cert.command('deny').argument('<which>', 'number of a node, or a serial number'))
    .description('refuse a certificate from now on; links with it are closed')
    .action(deny);
}

function withCertificates(command: Command): Command {
  return withSelection(command).option('--cluster <dir>', 'directory of the certificates');
}

function days(text: string): number {
  const count = wholeNumber(text);
  if (count >= 1 && count <= DAYS_MAX) return count;
  throw new InvalidArgumentError(`give a whole number from 1 to ${String(DAYS_MAX)}.`);
}

function asName(text: string): string {
  if (isName(text)) return nameOption(text);
  throw new InvalidArgumentError(`${NAME_RULE}.`);
}

/** DVSs that run on this machine, with their states. */
function running(runtime: string | undefined): { paths: DvsPaths; state: DvsState }[] {
  let directory: string;
  try {
    ({ directory } = findRuntime(runtime));
  } catch {
    // Certificates can be made where no DVS can run.
    return [];
  }
  return listDvs(directory).flatMap((dvs) => {
    const paths = new DvsPaths(directory, dvs);
    const state = readState(paths);
    return state === undefined ? [] : [{ paths, state }];
  });
}

/** The directory that was named, that of the DVS which runs, or the usual one. */
function choose({ cluster, name, runtime }: CertSelection): ClusterDirectory {
  if (cluster !== undefined) return new ClusterDirectory(resolve(cluster));
  const found = running(runtime).filter(
    ({ state }) => name === undefined || state.spec.dvs === name,
  );
  const [only] = found;
  if (found.length === 1 && only?.state.security.mode === 'sealed') {
    return new ClusterDirectory(only.state.security.directory);
  }
  return new ClusterDirectory(defaultDirectory(name ?? DEMO_NAME, process.env));
}

function wanted(file: string | undefined, flags: InitFlags): { dvs: string; nodes: NodeName[] } {
  const { name, nodes } = flags;
  if (file === undefined) {
    const count = nodes ?? DEMO_NODES;
    const ids = Array.from({ length: count }, (_, id) => ({ id, name: `node${String(id)}` }));
    return { dvs: name ?? DEMO_NAME, nodes: ids };
  }
  if (nodes !== undefined) {
    const remedy = 'Leave --nodes out, or leave the spec out.';
    throw new CliError('a spec lists its own nodes', remedy, ExitCode.USAGE);
  }
  const source = { file, directory: dirname(resolve(file)), ...(name !== undefined && { name }) };
  const spec = parseSpec(readSpec(file), source);
  return { dvs: spec.dvs, nodes: [...spec.nodes] };
}

async function init(file: string | undefined, flags: InitFlags): Promise<void> {
  const named = file !== undefined || flags.nodes !== undefined;
  const { dvs, nodes } = wanted(file, flags);
  const directory =
    flags.renew === true
      ? choose(file === undefined ? flags : { ...flags, name: dvs })
      : new ClusterDirectory(resolve(flags.cluster ?? defaultDirectory(dvs, process.env)));
  if (flags.renew !== true) directory.create(dvs);
  const known = flags.renew === true && !named ? directory.nodes().map(nameIn(directory)) : nodes;
  const made = known.map((node) => directory.issue(node, flags.days));
  await tell(directory, flags);
  if (flags.json === true) {
    output.json({ dvs: directory.dvs(), directory: directory.root, items: made });
    return;
  }
  show(made);
  output.note(`in ${directory.root}`);
  if (flags.renew === true) return;
  output.note('ca.key is for issuing only: keep it where no node runs, or safe.');
  output.note('A node on another machine needs ca.crt, denied and its own directory.');
}

function nameIn(directory: ClusterDirectory): (id: number) => NodeName {
  return (id) => ({ id, name: directory.report(id).name });
}

function list(selection: CertSelection): void {
  const directory = choose(selection);
  const items = directory.reports();
  if (selection.json === true) output.json({ directory: directory.root, items });
  else show(items);
}

function info(which: string, selection: CertSelection): void {
  const items = choose(selection).reports();
  const found = items.find(({ kind, node, name }) =>
    kind === 'ca' ? which === 'ca' : String(node) === which || name === which,
  );
  if (found === undefined) {
    const known = items.map(({ kind, node }) => (kind === 'ca' ? 'ca' : String(node))).join(', ');
    throw new CliError(`there is no certificate of ${which}`, `There are ${known}.`);
  }
  if (selection.json === true) {
    output.json(found);
    return;
  }
  const { since, until, ...rest } = found;
  const times = { since: time(since), until: time(until) };
  for (const [key, value] of Object.entries({ ...rest, ...times })) {
    output.line(`${key.padEnd(8)} ${String(value ?? '-')}`);
  }
}

async function issue(node: number, flags: IssueFlags): Promise<void> {
  const directory = choose(flags);
  const present = directory.nodes().includes(node) ? directory.report(node) : undefined;
  const name = flags.as ?? present?.name ?? `node${String(node)}`;
  const made = directory.issue({ id: node, name }, flags.days);
  await tell(directory, flags);
  if (flags.json === true) output.json(made);
  else show([made]);
}

async function deny(which: string, selection: CertSelection): Promise<void> {
  const directory = choose(selection);
  const node = directory.nodes().find((id) => String(id) === which);
  if (node === undefined && !/^[0-9A-Fa-f]{16,40}$/.test(which)) {
    const known = `Give a serial number, or one of ${directory.nodes().join(', ')}.`;
    throw new CliError(`there is no certificate of node ${which}`, known, ExitCode.USAGE);
  }
  const serial = node === undefined ? which.toUpperCase() : directory.report(node).serial;
  const what = node === undefined ? '' : `node ${String(node)}, `;
  const isNew = directory.deny(serial, `${what}${time(Date.now())}`);
  await tell(directory, selection);
  if (selection.json === true) output.json({ serial, isNew });
  else output.line(`${serial} is refused${isNew ? '' : ' already'}`);
}

/** Has the proxies of this machine that use these files read them anew. */
async function tell(directory: ClusterDirectory, { runtime }: Selection): Promise<void> {
  for (const { paths, state } of running(runtime)) {
    const { security } = state;
    if (security.mode !== 'sealed' || security.directory !== directory.root) continue;
    const cluster = await Cluster.connect(paths, state);
    try {
      const present = state.spec.nodes.map(({ id }) => id).filter((id) => cluster.has(id));
      const asked = present.map(async (id) => cluster.call(id, 'renewCredentials'));
      const outcomes = await Promise.allSettled(asked);
      output.note(`the proxies of DVS ${paths.dvs} were told to read them`);
      // A node that is denied keeps what it had; the others refuse it all the same.
      outcomes.forEach((outcome, index) => {
        if (outcome.status === 'fulfilled') return;
        const which = `  node ${String(present[index])} keeps the ones before`;
        output.note(`${which}: ${(outcome.reason as Error).message}`, 'yellow');
      });
    } finally {
      cluster.close();
    }
  }
}

function time(ms: number): string {
  return new Date(ms).toISOString().slice(0, 16).replace('T', ' ');
}

function stateCell(state: CertificateState): Cell {
  if (state === 'good') return [state, 'green'];
  return [state, state === 'ending' ? 'yellow' : 'red'];
}

function show(items: readonly CertificateReport[]): void {
  output.table(
    ['OF', 'NAME', 'STATE', 'UNTIL', 'SERIAL', 'FILE'],
    items.map(({ kind, node, name, state, until, serial, file }) => [
      kind === 'ca' ? 'CA' : `node ${String(node)}`,
      name,
      stateCell(state),
      time(until),
      serial,
      file,
    ]),
  );
}
