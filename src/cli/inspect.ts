/**
 * What is up and what is down in a DVS, and what to do about it: the one answer that `status` and
 * the lists show.
 */
import type { ProcessInfo } from '../dvk/index.ts';
import type { ContainerSpec, DvsSpec, FuseServiceSpec, NodeSpec } from '../vos/spec.ts';
import { formatAddress } from '../vos/spec-reader.ts';
import { Cluster } from './cluster.ts';
import { ClusterDirectory, type CertificateReport } from './cluster-directory.ts';
import { FUSE_TYPE, mountOn, probe } from './mounts.ts';
import { CliError } from './output.ts';
import { isAlive } from './process-table.ts';
import type { ContainerReport, LinkReport, NodeReport, ProcessesReport } from './report.ts';
import type { ProxyReport, ServiceReport } from './report.ts';
import { readDaemonRecord, readState, type DvsPaths, type DvsState } from './runtime.ts';
import { faultOf, INSECURE_WARNING } from './security.ts';
import { servicesOf } from './start-order.ts';

// Long enough for a gateway whose server is away to give up a call, and short enough for a person
// to wait.
const PROBE_TIMEOUT_MS = 3000;
const TELLING = /^(certificate|identity|security): /;

export interface NodeStatus {
  readonly id: number;
  readonly name: string;
  /** `stuck`: the daemon's process exists, but does not answer. */
  readonly state: 'up' | 'down' | 'stuck';
  readonly pid: number | null;
  readonly since: number | null;
}

export interface ProxyStatus extends ProxyReport {
  readonly node: number;
  readonly listen: string;
}

/**
 * A link between two nodes, as both ends see it; it is up when both say so, and held when neither
 * has given it up.
 */
export interface LinkStatus {
  readonly nodes: readonly [number, number];
  readonly state: LinkReport['state'];
  readonly since: number | null;
  readonly reason: string | null;
}

export interface ContainerStatus {
  readonly name: string;
  readonly id: number;
  readonly spec: ContainerSpec;
  readonly nodes: readonly { readonly node: number; readonly report: ContainerReport | null }[];
}

export interface ServiceStatus extends ServiceReport {
  readonly node: number;
}

export interface MountStatus {
  readonly path: string;
  readonly service: string;
  readonly node: number;
  readonly state: 'up' | 'down';
  readonly reason: string | null;
}

export interface Trouble {
  readonly what: string;
  readonly remedy: string;
}

export interface SecurityStatus {
  readonly mode: 'sealed' | 'insecure';
  /** Where the certificates are; null when there are none. */
  readonly directory: string | null;
  /** Those of the DVS's nodes. */
  readonly certificates: readonly CertificateReport[];
  /** Why they cannot be read. */
  readonly reason: string | null;
}

export interface DvsStatus {
  readonly dvs: string;
  readonly directory: string;
  readonly state: DvsState['state'];
  readonly since: number;
  readonly ok: boolean;
  readonly security: SecurityStatus;
  readonly nodes: readonly NodeStatus[];
  readonly proxies: readonly ProxyStatus[];
  readonly links: readonly LinkStatus[];
  readonly containers: readonly ContainerStatus[];
  readonly services: readonly ServiceStatus[];
  readonly mounts: readonly MountStatus[];
  readonly problems: readonly Trouble[];
  /** What works, and should be looked after. */
  readonly warnings: readonly Trouble[];
}

export interface ProcessStatus extends ProcessInfo {
  readonly container: string;
  /** The node whose table this is; `node` is where the process lives. */
  readonly seenBy: number;
}

/** The state file of a DVS. Throws a CliError when there is none. */
export function requireState(paths: DvsPaths): DvsState {
  const state = readState(paths);
  if (state !== undefined) return state;
  throw new CliError(
    `${paths.root} holds no running DVS: its state file is missing or of another version`,
    `Clear what is left with \`dvk down --name ${paths.dvs}\`.`,
  );
}

/** Asks every daemon of the DVS, and every mount. */
export async function inspect(paths: DvsPaths): Promise<DvsStatus> {
  const state = requireState(paths);
  const cluster = await Cluster.connect(paths, state);
  cluster.close();
  const { reports } = cluster;
  const { spec } = state;
  const nodes = spec.nodes.map((node) => nodeStatus(paths, node, reports.get(node.id)));
  const services = servicesOf(spec).map((service): ServiceStatus => {
    const found = reports.get(service.node)?.services.find((one) => one.spec.name === service.name);
    const container = spec.containers.find((one) => one.services.includes(service))?.name ?? '';
    return { ...(found ?? { ...ABSENT, container, spec: service, info: {} }), node: service.node };
  });
  const facts = {
    security: securityStatus(state),
    nodes,
    proxies: spec.nodes.map((node) => proxyStatus(node, reports.get(node.id))),
    links: linkStatuses(spec, reports),
    containers: spec.containers.map((container) => containerStatus(container, reports)),
    services,
    mounts: await Promise.all(services.flatMap(({ spec: one }) => mountStatus(one))),
  };
  const problems = findProblems(state, facts);
  const { since } = state;
  const head = { dvs: spec.dvs, directory: paths.root, state: state.state, since };
  const warnings = findWarnings(state, facts);
  return { ...head, ok: problems.length === 0, ...facts, problems, warnings };
}

/** The processes that each node knows of. */
export async function inspectProcesses(paths: DvsPaths): Promise<ProcessStatus[]> {
  const state = requireState(paths);
  const cluster = await Cluster.connect(paths, state);
  try {
    const nodes = state.spec.nodes.filter(({ id }) => cluster.has(id));
    const lists = await Promise.all(
      nodes.map(async ({ id }) => {
        const containers = (await cluster.call(id, 'processes')) as ProcessesReport;
        return containers.flatMap(({ container, processes }) =>
          processes.map((process) => ({ ...process, container, seenBy: id })),
        );
      }),
    );
    return lists.flat();
  } finally {
    cluster.close();
  }
}

const ABSENT = { state: 'down', since: 0, pid: null, reason: 'its node is down' } as const;

function nodeStatus(paths: DvsPaths, node: NodeSpec, report: NodeReport | undefined): NodeStatus {
  const { id, name } = node;
  if (report !== undefined) return { id, name, state: 'up', pid: report.pid, since: report.since };
  const daemon = readDaemonRecord(paths.node(id))?.daemon;
  const stuck = daemon !== undefined && isAlive(daemon);
  return { id, name, state: stuck ? 'stuck' : 'down', pid: stuck ? daemon.pid : null, since: null };
}

function proxyStatus(node: NodeSpec, report: NodeReport | undefined): ProxyStatus {
  const place = { node: node.id, listen: formatAddress(node.listen) };
  if (report !== undefined) return { ...report.proxy, ...place };
  return { ...ABSENT, address: null, links: [], stats: null, ...place };
}

function securityStatus({ security, spec }: DvsState): SecurityStatus {
  const none = { certificates: [], reason: null };
  if (security.mode === 'insecure') return { mode: 'insecure', directory: null, ...none };
  const { directory } = security;
  try {
    const found = new ClusterDirectory(directory);
    const certificates = spec.nodes.map(({ id }) => found.report(id));
    return { mode: 'sealed', directory, certificates, reason: null };
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    return { mode: 'sealed', directory, certificates: [], reason: error.message };
  }
}

// What an end knows of certificates says more than that the other one closed the connection.
function tellingFirst(reasons: readonly (string | null | undefined)[]): string | null {
  const present = reasons.flatMap((reason) => reason ?? []);
  return present.find((reason) => TELLING.test(reason)) ?? present[0] ?? null;
}

function linkStatuses(spec: DvsSpec, reports: ReadonlyMap<number, NodeReport>): LinkStatus[] {
  const seen = (from: number, to: number): LinkReport | undefined =>
    reports.get(from)?.proxy.links.find(({ peer }) => peer === to);
  return spec.nodes.flatMap(({ id: a }, index) =>
    spec.nodes.slice(index + 1).map(({ id: b }): LinkStatus => {
      const ends = [seen(a, b), seen(b, a)];
      const states = ends.map((end) => end?.state ?? 'down');
      const state = (['down', 'held'] as const).find((one) => states.includes(one)) ?? 'up';
      const since = Math.max(...ends.map((end) => end?.since ?? 0)) || null;
      const reason = tellingFirst(ends.map((end) => end?.reason));
      return { nodes: [a, b], state, since, reason: state === 'up' ? null : reason };
    }),
  );
}

function containerStatus(
  spec: ContainerSpec,
  reports: ReadonlyMap<number, NodeReport>,
): ContainerStatus {
  const nodes = spec.nodes.map((node) => {
    const report = reports.get(node)?.containers.find(({ name }) => name === spec.name);
    return { node, report: report ?? null };
  });
  return { name: spec.name, id: spec.id, spec, nodes };
}

function mountStatus(service: ServiceReport['spec']): Promise<MountStatus>[] {
  return service.kind === 'fuse' ? [checkMount(service)] : [];
}

async function checkMount(service: FuseServiceSpec): Promise<MountStatus> {
  const { mount: path, name, node } = service;
  const mounted = mountOn(path)?.type === FUSE_TYPE;
  let reason: string | undefined = mounted ? undefined : 'nothing is mounted there';
  // Only its owner may look into it.
  if (mounted && service.owner === undefined) reason = await probe(path, PROBE_TIMEOUT_MS);
  return {
    path,
    service: name,
    node,
    state: reason === undefined ? 'up' : 'down',
    reason: reason ?? null,
  };
}

type Facts = Omit<
  DvsStatus,
  'dvs' | 'directory' | 'state' | 'since' | 'ok' | 'problems' | 'warnings'
>;

// A thing that is down only because something else is down is not a problem of its own.
function findProblems(state: DvsState, facts: Facts): Trouble[] {
  const problems: Trouble[] = [];
  const name = `--name ${state.spec.dvs}`;
  if (state.state !== 'running') {
    const what = `the last command was broken off while the DVS was ${state.state}`;
    problems.push({ what, remedy: `dvk down ${name}` });
  }
  for (const { id, state: now, pid } of facts.nodes) {
    const node = String(id);
    const start = `dvk node start ${node} ${name}`;
    if (now === 'down') problems.push({ what: `node ${node} is down`, remedy: start });
    if (now === 'stuck') {
      const what = `the daemon of node ${node} (process ${String(pid)}) does not answer`;
      problems.push({ what, remedy: `dvk node stop ${node} ${name}, then ${start}` });
    }
  }
  const up = new Set(facts.nodes.filter((node) => node.state === 'up').map(({ id }) => id));
  for (const { name: container, nodes } of facts.containers) {
    for (const { node, report } of nodes) {
      if (!up.has(node) || report?.state !== 'ended') continue;
      const what = `container ${container} has ended on node ${String(node)}: its segment is lost`;
      const [at, start] = [String(node), `dvk node start ${String(node)} ${name}`];
      problems.push({ what, remedy: `dvk node stop ${at} ${name}, then ${start}` });
    }
  }
  const proxies = facts.proxies.filter((proxy) => up.has(proxy.node) && proxy.state !== 'up');
  for (const { node, reason } of proxies) {
    const what = `the proxy of node ${String(node)} is down${because(reason)}`;
    problems.push({ what, remedy: `dvk proxy start ${String(node)} ${name}` });
    up.delete(node);
  }
  for (const { nodes, state: now, reason } of facts.links) {
    if (now === 'up' || !nodes.every((node) => up.has(node))) continue;
    const what = `nodes ${nodes.join(' and ')} are not linked${because(reason)}`;
    problems.push({ what, remedy: 'the proxies keep trying; see their logs' });
  }
  return [...problems, ...certificateProblems(facts.security), ...serviceProblems(facts, name)];
}

function certificateProblems({ certificates, directory, reason }: SecurityStatus): Trouble[] {
  const where = `--cluster ${directory ?? ''}`;
  if (reason !== null) {
    return [
      { what: `the certificates cannot be used: ${reason}`, remedy: `see ${directory ?? ''}` },
    ];
  }
  return certificates.flatMap((report) => {
    const fault = faultOf(report);
    if (fault === undefined) return [];
    const node = String(report.node);
    const what = `the certificate of node ${node} (serial ${report.serial}) ${fault}`;
    return [{ what, remedy: `dvk cert issue ${node} ${where}` }];
  });
}

function findWarnings({ spec }: DvsState, { security }: Facts): Trouble[] {
  if (security.mode === 'insecure') {
    const remedy = `dvk down --name ${spec.dvs}, then dvk up without --insecure`;
    return [{ what: INSECURE_WARNING, remedy }];
  }
  const ending = security.certificates.filter(({ state }) => state === 'ending');
  return ending.map(({ node, until }) => ({
    what: `the certificate of node ${String(node)} ends at ${new Date(until).toISOString()}`,
    remedy: `dvk init --renew --cluster ${security.directory ?? ''}`,
  }));
}

function serviceProblems({ nodes, services, mounts }: Facts, name: string): Trouble[] {
  const up = new Set(nodes.filter((node) => node.state === 'up').map(({ id }) => id));
  const down = services.filter(({ node, state }) => up.has(node) && state !== 'up');
  const problems = down.map(({ spec, state, reason }): Trouble => {
    const what = `service ${spec.name} is ${state}${because(reason)}`;
    return { what, remedy: `dvk service start ${spec.name} ${name}` };
  });
  const ill = new Set(down.map(({ spec }) => spec.name));
  for (const { path, service, node, state, reason } of mounts) {
    if (state === 'up' || ill.has(service) || !up.has(node)) continue;
    const spec = services.find((one) => one.spec.name === service)?.spec;
    const server = services.find((one) => spec?.kind === 'fuse' && one.spec.name === spec.server);
    if (server !== undefined && server.state !== 'up') continue;
    const what = `the mount on ${path} is down${because(reason)}`;
    problems.push({ what, remedy: `dvk service restart ${service} ${name}` });
  }
  return problems;
}

function because(reason: string | null): string {
  return reason === null || reason === '' ? '' : `: ${reason}`;
}
