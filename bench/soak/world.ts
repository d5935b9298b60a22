/**
 * The nodes of a soak run: for each a segment, a proxy, a server and callers, all processes of this
 * machine; and for each path a relay, in network namespaces with cables when this is root. Nodes 0
 * and 1 are joined by two paths.
 *
 * What node daemons do otherwise is done here: a proxy that died is started again, and its node's
 * links are taken down before that.
 */
import { execFileSync, fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { dcId, nodeId, Segment } from '../../src/dvk/index.ts';
import { ClusterDirectory } from '../../src/cli/cluster-directory.ts';
import type { ControlPath, ControlPeer, FromProxy, ToProxy } from '../../src/proxies/control.ts';
import type { EngineStatistics } from '../../src/proxies/engine.ts';
import type { Cleanup } from '../cleanup.ts';
import { scratchDirectory } from '../scratch.ts';
import type { Counts, ServerInfo } from './member.ts';
import type { RelayOrder } from './relay.ts';

const PROXY = fileURLToPath(new URL('../../src/proxies/main.js', import.meta.url));
const MEMBER = fileURLToPath(new URL('./member.js', import.meta.url));
const RELAY = fileURLToPath(new URL('./relay.js', import.meta.url));
const DVS = 'soak';
const DC = 5;
const SCRATCH_BYTES = 64 * 1024 * 1024;
const PAGE_BYTES = 4096;
const FIRST_SERVER_SLOT = 10;

/** Callers on each node. */
const CALLERS = [3, 3, 2] as const;
export const NODES: number = CALLERS.length;

/** A path between two nodes; the one with the lower id dials. */
export interface SoakLink {
  readonly ends: readonly [number, number];
  readonly transport: 'tcp' | 'udp';
}

/** The paths of a link stand together, the preferred one first. */
export const LINKS: readonly SoakLink[] = [
  { ends: [0, 1], transport: 'tcp' },
  { ends: [0, 1], transport: 'udp' },
  { ends: [0, 2], transport: 'tcp' },
  { ends: [1, 2], transport: 'udp' },
];

function run(command: string): void {
  const [program = '', ...rest] = command.split(' ');
  execFileSync(program, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Paths of the link that has more than one. */
export const BONDED: readonly SoakLink[] = LINKS.slice(0, 2);

/** Three namespaces with a cable for each path, or nothing where they cannot be made. */
class Cables {
  readonly #name: string = `dvk-soak-${process.pid}`;
  readonly isReal: boolean;

  constructor(cleanup: Cleanup) {
    this.isReal = process.getuid?.() === 0 && this.#make(cleanup);
  }

  #make(cleanup: Cleanup): boolean {
    cleanup.defer(() => {
      for (let node = 0; node < NODES; node++) this.#try(`ip netns delete ${this.namespace(node)}`);
    });
    try {
      for (let node = 0; node < NODES; node++) {
        run(`ip netns add ${this.namespace(node)}`);
        run(`ip -n ${this.namespace(node)} link set lo up`);
      }
      for (const link of LINKS) this.#lay(link);
      return true;
    } catch {
      return false;
    }
  }

  #lay(link: SoakLink): void {
    const [first, second] = [this.namespace(link.ends[0]), this.namespace(link.ends[1])];
    const device = this.#device(link);
    run(`ip link add ${device} netns ${first} type veth peer name ${device} netns ${second}`);
    for (const node of link.ends) {
      const within = `ip -n ${this.namespace(node)}`;
      run(`${within} address add ${this.#address(link, node)}/24 dev ${device}`);
      run(`${within} link set ${device} up`);
    }
  }

  // At both ends.
  #device(link: SoakLink): string {
    return `path${LINKS.indexOf(link)}`;
  }

  #try(command: string): void {
    try {
      run(command);
    } catch {
      // It was not made.
    }
  }

  namespace(node: number): string {
    return `${this.#name}-${node}`;
  }

  /** Where the accepter of a path is reached. */
  address(link: SoakLink): string {
    return this.isReal ? this.#address(link, link.ends[1]) : '127.0.0.1';
  }

  #address(link: SoakLink, node: number): string {
    return `10.214.${1 + LINKS.indexOf(link)}.${1 + link.ends.indexOf(node)}`;
  }

  /** Pulls the cable, or plugs it in again. */
  plug(link: SoakLink, state: 'up' | 'down'): void {
    if (!this.isReal) return;
    run(`ip -n ${this.namespace(link.ends[1])} link set ${this.#device(link)} ${state}`);
  }

  /** Starts a program in a node's namespace, with an IPC channel. */
  start(node: number, script: string, ...args: readonly string[]): ChildProcess {
    const before = this.isReal ? ['ip', 'netns', 'exec', this.namespace(node)] : [];
    const [program = '', ...rest] = [...before, process.execPath, script, ...args];
    return spawn(program, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  }
}

export class SoakMember {
  readonly child: ChildProcess;
  counts: Counts | undefined;
  info: ServerInfo = { endpoint: 0, grant: 0 };

  constructor(child: ChildProcess) {
    this.child = child;
    child.on('message', (told: { counts?: Counts; ready?: ServerInfo }) => {
      this.counts = told.counts ?? this.counts;
      this.info = told.ready ?? this.info;
    });
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }
}

export class SoakNode {
  readonly number: number;
  readonly path: string;
  readonly segment: Segment;
  server!: SoakMember;
  readonly callers: SoakMember[] = [];
  proxy: ChildProcess | undefined;
  port = 0;
  /** Proxies that this node has had. */
  lives = 0;
  /** How often its links came into each state. */
  readonly changes = { up: 0, held: 0, down: 0 };
  /** How often a session went on over another path that was up. */
  moves = 0;
  statistics: EngineStatistics | undefined;

  constructor(number: number, directory: string) {
    this.number = number;
    const place = join(directory, `node${number}`);
    mkdirSync(place, { mode: 0o700 });
    this.path = join(place, 'dc.segment');
    Segment.create(this.path, {
      dcId: dcId(DC),
      nodeId: nodeId(number),
      dcName: 'soak',
      dvsName: DVS,
      nodes: NODES,
    });
    this.segment = Segment.open(this.path);
    for (let other = 0; other < NODES; other++) {
      if (other !== number) this.segment.addNode(nodeId(other), `n${other}`);
    }
  }

  get members(): SoakMember[] {
    return [this.server, ...this.callers];
  }

  /** Resident memory of the proxy in bytes; undefined while there is none. */
  get proxyBytes(): number | undefined {
    try {
      const statm = readFileSync(`/proc/${this.proxy?.pid ?? 0}/statm`, 'utf8');
      return Number(statm.split(' ')[1]) * PAGE_BYTES;
    } catch {
      return undefined;
    }
  }

  /** Stops or resumes the proxy and all members. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.proxy?.kill(signal);
    for (const { child } of this.members) child.kill(signal);
  }

  tell(message: ToProxy): void {
    if (this.proxy?.connected === true) this.proxy.send(message);
  }

  /** Whether every path of every link is up as seen from here; asks for the next time too. */
  get isLinked(): boolean {
    this.tell({ type: 'stats' });
    const { peers } = this.statistics ?? { peers: [] };
    const isWhole = peers.every(
      ({ containers, paths }) =>
        containers.length === 1 && paths.every(({ state }) => state === 'up'),
    );
    return peers.length === NODES - 1 && isWhole;
  }
}

export class SoakWorld {
  readonly nodes: SoakNode[] = [];
  readonly cables: Cables;
  readonly #cleanup: Cleanup;
  readonly #directory: string;
  readonly #certificates: ClusterDirectory;
  readonly #relays = new Map<SoakLink, { child: ChildProcess; port: number }>();
  readonly #seed: number;
  #isEnding = false;

  constructor(cleanup: Cleanup, seed: number) {
    this.#cleanup = cleanup;
    this.#seed = seed;
    this.#directory = scratchDirectory(cleanup, SCRATCH_BYTES);
    this.cables = new Cables(cleanup);
    this.#certificates = new ClusterDirectory(join(this.#directory, 'cluster'));
  }

  async start(): Promise<void> {
    this.#certificates.create(DVS);
    for (let number = 0; number < NODES; number++) {
      this.#certificates.issue({ id: number, name: `n${number}` }, 2);
      this.nodes.push(new SoakNode(number, this.#directory));
    }
    this.#cleanup.defer(() => {
      for (const { segment } of this.nodes) segment.close();
    });
    for (const link of LINKS) await this.#startRelay(link);
    for (const node of this.nodes) await this.startProxy(node);
    for (const node of this.nodes) await this.#startMembers(node);
    const servers = this.nodes.map(({ server }) => server.info);
    for (const { callers, number } of this.nodes) {
      const others = servers.filter((_, node) => node !== number);
      for (const { child } of callers) child.send({ servers: others });
    }
  }

  async #startRelay(link: SoakLink): Promise<void> {
    const seed = String(this.#seed + LINKS.indexOf(link));
    const child = this.#watched(this.cables.start(link.ends[0], RELAY, link.transport, seed));
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    this.#relays.set(link, { child, port });
  }

  /** What is said to the relay of a link. */
  relay(link: SoakLink, order: RelayOrder): void {
    this.#relays.get(link)?.child.send(order);
  }

  async startProxy(node: SoakNode): Promise<void> {
    const proxy = this.#watched(this.cables.start(node.number, PROXY));
    node.proxy = proxy;
    node.lives++;
    const ready = new Promise<number>((resolve, reject) => {
      proxy.on('message', (message: FromProxy) => {
        if (message.type === 'ready') resolve(message.port);
        else if (message.type === 'failed') reject(new Error(message.reason));
        else if (message.type === 'link') node.changes[message.state]++;
        else if (message.type === 'moved') node.moves++;
        else if (message.type === 'stats') node.statistics = message.stats;
      });
      proxy.once('exit', () => {
        reject(new Error(`the proxy of node ${node.number} ended before it was ready`));
      });
    });
    const start: ToProxy = {
      type: 'start',
      dvs: DVS,
      node: node.number,
      incarnation: String(process.pid * 1_000_000 + node.number * 100_000 + node.lives),
      listen: { host: '0.0.0.0', port: node.port },
      security: { mode: 'sealed', files: this.#certificates.files(node.number) },
      segments: [{ dcId: DC, path: node.path }],
      peers: this.#peersOf(node.number),
      transports: ['tcp', 'udp'],
    };
    proxy.send(start);
    const isFirst = node.port === 0;
    node.port = await ready;
    if (!isFirst) return;
    for (const link of LINKS.filter(({ ends }) => ends[1] === node.number)) {
      const host = this.cables.address(link);
      this.relay(link, { target: { host, port: node.port } });
    }
  }

  // Whom a node dials it reaches by the relay on its own host.
  #peersOf(node: number): ControlPeer[] {
    const own = LINKS.filter(({ ends }) => ends.includes(node));
    const nodes = new Set(own.flatMap(({ ends }) => ends).filter((other) => other !== node));
    return [...nodes].flatMap((other) => {
      const [first, ...others] = own
        .filter(({ ends }) => ends.includes(other))
        .map((link) => this.#placeOf(link));
      return first ? [{ node: other, name: `n${other}`, ...first, others }] : [];
    });
  }

  #placeOf(link: SoakLink): ControlPath {
    const port = this.#relays.get(link)?.port ?? 0;
    return { host: '127.0.0.1', port, transport: link.transport };
  }

  /** The proxy of a node is killed; what its daemon would do for the segment is done. */
  async killProxy(node: SoakNode): Promise<void> {
    const { proxy } = node;
    if (proxy === undefined) return;
    const exit = once(proxy, 'exit');
    proxy.kill('SIGKILL');
    await exit;
    for (const link of node.segment.links()) {
      if (link.state !== 'local') node.segment.linkDown(link.node);
    }
  }

  async #startMembers(node: SoakNode): Promise<void> {
    const slot = FIRST_SERVER_SLOT + node.number;
    node.server = await this.#member(node, 'server', slot);
    const first = CALLERS.slice(0, node.number).reduce<number>((sum, count) => sum + count, 0);
    for (let i = 0; i < (CALLERS[node.number] ?? 0); i++) {
      node.callers.push(await this.#member(node, 'caller', first + i));
    }
  }

  async #member(node: SoakNode, role: string, number: number): Promise<SoakMember> {
    const args = [node.path, role, String(number), String(this.#seed * 100 + number)];
    const child = this.#watched(
      fork(MEMBER, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
    );
    const member = new SoakMember(child);
    await once(child, 'message');
    return member;
  }

  // Ends with the run. Its death is noticed by its exit, not by what could not be said to it.
  #watched(child: ChildProcess): ChildProcess {
    child.on('error', () => undefined);
    this.#cleanup.defer(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
    });
    return child;
  }

  /** Takes leave in the orderly way. Returns what did not go as it should. */
  async end(): Promise<string[]> {
    this.#isEnding = true;
    const faults: string[] = [];
    for (const { number, proxy } of this.nodes) {
      if (proxy?.exitCode !== null) continue;
      const exit = once(proxy, 'exit');
      proxy.send({ type: 'stop' } satisfies ToProxy);
      const [code] = (await exit) as [number | null];
      if (code !== 0) faults.push(`the proxy of node ${number} ended with ${String(code)}`);
    }
    return faults;
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }
}
