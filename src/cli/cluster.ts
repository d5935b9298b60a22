/** The daemons of one DVS, as the commands see them: connected to, asked, and told what to do. */
import { fork } from 'node:child_process';
import { closeSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { extraAddressesOf, pathsBetween } from '../vos/spec-links.ts';
import { transportsOf, type PathSpec } from '../vos/spec.ts';
import type { NodeSpec, ServiceSpec, TransportName } from '../vos/spec.ts';
import { DaemonClient } from './channel.ts';
import { openLog } from './child.ts';
import type { Peer, PeerPath, ProxyPlace, ProxyStart } from './node-proxy.ts';
import { CliError } from './output.ts';
import { identify, isAlive } from './process-table.ts';
import type { DaemonMessage, NodeReport } from './report.ts';
import {
  DVS_VARIABLE,
  NODE_VARIABLE,
  readState,
  writeState,
  type DvsPaths,
  type DvsState,
} from './runtime.ts';
import { inRanks } from './start-order.ts';
import { waitUntil, withTimeout } from './wait.ts';

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const START_TIMEOUT_MS = 10_000;
// A service answers within ten seconds or is ended; a stop has three seconds of grace.
const SERVICE_TIMEOUT_MS = 15_000;
const LINK_TIMEOUT_MS = 10_000;
const PING_TIMEOUT_MS = 2000;
const EXIT_TIMEOUT_MS = 1000;

/** Starts the daemon of a node, in a session of its own, and waits until it answers. */
export async function startDaemon(paths: DvsPaths, node: number): Promise<void> {
  const nodePaths = paths.node(node);
  mkdirSync(nodePaths.root, { recursive: true, mode: 0o700 });
  const log = nodePaths.log('daemon');
  const fd = openLog(log);
  const child = fork(
    MAIN,
    ['node', 'run', '--runtime', paths.runtime, '--name', paths.dvs, String(node)],
    {
      detached: true,
      stdio: ['ignore', fd, fd, 'ipc'],
      env: { ...process.env, [DVS_VARIABLE]: paths.root, [NODE_VARIABLE]: nodePaths.root },
      execArgv: [],
    },
  );
  closeSync(fd);
  const said = new Promise<DaemonMessage>((resolve) => {
    const failed = (error: string): void => {
      resolve({ type: 'failed', error });
    };
    child.once('message', (message) => {
      resolve(message as DaemonMessage);
    });
    child.once('error', (error) => {
      failed(error.message);
    });
    child.once('exit', (code, signal) => {
      failed(`it ended with ${signal ?? `code ${String(code)}`}; see ${log}`);
    });
  });
  const late = (): Error =>
    new CliError(`the daemon of node ${String(node)} is late`, `See ${log}`);
  const message = await withTimeout(said, START_TIMEOUT_MS, late);
  if (child.connected) child.disconnect();
  child.unref();
  if (message.type === 'failed') {
    throw new CliError(`the daemon of node ${String(node)} did not start: ${message.error}`);
  }
}

/** A node of the DVS: its daemon, when it answers. */
interface Member {
  readonly spec: NodeSpec;
  readonly client: DaemonClient;
}

export class Cluster {
  readonly #paths: DvsPaths;
  readonly #members = new Map<number, Member>();
  /** What each daemon said when the connection was made. */
  readonly reports = new Map<number, NodeReport>();
  #state: DvsState;

  private constructor(paths: DvsPaths, state: DvsState) {
    this.#paths = paths;
    this.#state = state;
  }

  /** Connects to every daemon that answers; the others are left out. */
  static async connect(paths: DvsPaths, state: DvsState): Promise<Cluster> {
    const cluster = new Cluster(paths, state);
    await Promise.all(state.spec.nodes.map(async (spec) => cluster.#join(spec)));
    return cluster;
  }

  async #join(spec: NodeSpec): Promise<void> {
    const name = `node ${String(spec.id)}`;
    const client = await DaemonClient.connect(this.#paths.node(spec.id).socket, name);
    if (client === undefined) return;
    try {
      this.reports.set(spec.id, (await client.call('status', {}, PING_TIMEOUT_MS)) as NodeReport);
      this.#members.set(spec.id, { spec, client });
    } catch {
      client.close();
    }
  }

  /** Whether links are encrypted. */
  get sealed(): boolean {
    return this.#state.security.mode === 'sealed';
  }

  /** What carries its links. */
  get transports(): TransportName[] {
    const { spec } = this.#state;
    return [...new Set(spec.nodes.flatMap(({ id }) => transportsOf(spec, id)))];
  }

  close(): void {
    for (const { client } of this.#members.values()) client.close();
    this.#members.clear();
  }

  has(node: number): boolean {
    return this.#members.has(node);
  }

  /** Calls the daemon of a node. */
  async call(node: number, name: string, parameters: object = {}, ms?: number): Promise<unknown> {
    const member = this.#members.get(node);
    if (member === undefined) {
      throw new CliError(
        `node ${String(node)} is down`,
        `Start it with \`dvk node start ${String(node)}\`.`,
      );
    }
    return await member.client.call(name, parameters, ms);
  }

  /** Asks all daemons again. */
  async refresh(): Promise<void> {
    await Promise.all(
      [...this.#members.keys()].map(async (node) => {
        this.reports.set(node, (await this.call(node, 'status')) as NodeReport);
      }),
    );
  }

  /** Starts the proxy of a node, on the port it had before when there is one. */
  async startProxy(node: number): Promise<void> {
    const spec = this.#members.get(node)?.spec ?? (await this.#missing(node));
    const { host, port } = spec.listen;
    const { etherType } = this.#state.spec;
    const before = this.#state.ports[String(node)];
    const start = async (wanted: number): Promise<ProxyPlace> => {
      const listen = { host, port: wanted };
      const peers = this.#peersOf(node);
      const transports = transportsOf(this.#state.spec, node);
      const ethernet =
        spec.ethernet && transports.includes('ethernet')
          ? { ethernet: { ...spec.ethernet, etherType } }
          : {};
      const { holdMs, compress, compressSealed } = this.#state.spec;
      const parameters: ProxyStart = {
        listen,
        more: extraAddressesOf(this.#state.spec, node),
        peers,
        transports,
        ...ethernet,
        ...(holdMs !== undefined && { holdMs }),
        ...(compress && { compress }),
        ...(compressSealed && { compressSealed }),
      };
      const place = await this.call(node, 'startProxy', parameters, SERVICE_TIMEOUT_MS);
      return place as ProxyPlace;
    };
    let actual: ProxyPlace;
    try {
      actual = await start(port === 0 ? (before ?? 0) : port);
    } catch (error) {
      // Another program may have taken the free port meanwhile; one that the spec asks for is not
      // given up.
      if (port !== 0 || before === undefined) throw error;
      actual = await start(0);
    }
    this.#remember(node, actual);
  }

  async #missing(node: number): Promise<never> {
    await this.call(node, 'status');
    throw new CliError(`node ${String(node)} is down`);
  }

  #remember(node: number, { port, ethernet }: ProxyPlace): void {
    const state = readState(this.#paths) ?? this.#state;
    const stations = ethernet && { stations: { ...state.stations, [String(node)]: ethernet } };
    this.#state = { ...state, ports: { ...state.ports, [String(node)]: port }, ...stations };
    writeState(this.#paths, this.#state);
  }

  #peersOf(node: number): Peer[] {
    return this.#state.spec.nodes.flatMap((other) => {
      const { id, name } = other;
      const port = this.#state.ports[String(id)];
      if (id === node || port === undefined) return [];
      const [first, ...others] = pathsBetween(this.#state.spec, node, id).map((path) =>
        this.#placeOf(other, port, path),
      );
      return first === undefined ? [] : [{ node: id, name, ...first, others }];
    });
  }

  // Where a path to a node is dialled.
  #placeOf({ id, listen }: NodeSpec, port: number, path: PathSpec): PeerPath {
    const { name, transport } = path;
    const station = this.#state.stations?.[String(id)] ?? '';
    const host = transport === 'ethernet' ? station : listen.host;
    return { host, port, ...path.listen, transport, path: name };
  }

  /** Tells every proxy where the others are. */
  async connectProxies(): Promise<void> {
    await Promise.all(
      [...this.#members.keys()].map(async (node) =>
        this.call(node, 'setPeers', { peers: this.#peersOf(node) }),
      ),
    );
  }

  /** Waits until every two nodes whose proxies run are linked. Returns how many links there are. */
  async waitForLinks(): Promise<number> {
    let missing: string[] = [];
    const linked = await waitUntil(
      async () => {
        await this.refresh();
        missing = this.#missingLinks();
        return missing.length === 0;
      },
      LINK_TIMEOUT_MS,
      30,
    );
    if (linked) {
      const running = [...this.reports.values()].filter(({ proxy }) => proxy.state === 'up').length;
      return (running * (running - 1)) / 2;
    }
    throw new CliError(
      `links did not come up within ${String(LINK_TIMEOUT_MS / 1000)} s: ${missing.join('; ')}`,
      `See the logs of the proxies in ${this.#paths.root}/node*/log.`,
    );
  }

  #missingLinks(): string[] {
    const running = [...this.reports.values()].filter(({ proxy }) => proxy.state === 'up');
    const nodes = new Set(running.map(({ node }) => node));
    return running.flatMap(({ node, proxy }) =>
      proxy.links
        .filter(({ peer, state }) => nodes.has(peer) && state !== 'up')
        .map(({ peer, reason }) => `${String(node)} to ${String(peer)} (${reason ?? 'no answer'})`),
    );
  }

  async startService(service: ServiceSpec): Promise<void> {
    await this.call(service.node, 'startService', { name: service.name }, SERVICE_TIMEOUT_MS);
  }

  async stopService(service: ServiceSpec): Promise<void> {
    await this.call(service.node, 'stopService', { name: service.name }, SERVICE_TIMEOUT_MS);
  }

  /**
   * Stops what runs of these services, those that need others first. What fails is left to `clean`.
   */
  async stopServices(services: readonly ServiceSpec[]): Promise<void> {
    for (const rank of inRanks(services).reverse()) {
      const present = rank.filter(({ node }) => this.has(node));
      await Promise.allSettled(present.map(async (service) => this.stopService(service)));
    }
  }

  /** Ends the daemons of these nodes, and all that they own. */
  async stopNodes(nodes: readonly number[]): Promise<void> {
    const present = nodes.filter((node) => this.has(node));
    await Promise.allSettled(present.map(async (node) => this.call(node, 'stop', {}, 8000)));
    // The answer comes before the process ends.
    const daemons = present.flatMap((node) => identify(this.reports.get(node)?.pid ?? 0) ?? []);
    await waitUntil(() => !daemons.some(isAlive), EXIT_TIMEOUT_MS);
    for (const node of present) {
      this.#members.get(node)?.client.close();
      this.#members.delete(node);
    }
  }
}
