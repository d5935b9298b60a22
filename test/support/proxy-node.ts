/**
 * A node as tests of the proxy program need it: a segment of DC 5, a proxy process, and members.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dcId, nodeId } from '../../src/dvk/index.ts';
import type {
  ControlEthernet,
  ControlPeer,
  ControlSecurity,
  FromProxy,
  ToProxy,
} from '../../src/proxies/control.ts';
import type { CredentialTexts } from '../../src/proxies/credentials.ts';
import type { EngineStatistics } from '../../src/proxies/engine.ts';
import { TestAuthority, writeCredentials } from './certificates.ts';
import { DcMember } from './dc-members.ts';
import { inNamespace } from './network-namespaces.ts';
import { TestSegment } from './segments.ts';

const PROGRAM = join(import.meta.dirname, '../../dist/src/proxies/main.js');
const DC = 5;
const HOST = '127.0.0.1';

/** Signs the certificates of all nodes here. */
export const AUTHORITY: TestAuthority = new TestAuthority();

export interface ProxyNodeOptions {
  /** Links in plain text, without certificates. */
  insecure?: boolean;
  /** Address that the proxy listens on. */
  host?: string;
  /** Network namespace that the proxy runs in. */
  namespace?: string;
  transports?: string[];
  /** Needed for links over Ethernet. */
  ethernet?: ControlEthernet;
  /** How long a session without a connection is held. */
  holdMs?: number;
  /** Segments of other DCs that the node is a member of. */
  others?: readonly TestSegment[];
  /** Of the proxy; that of the test when absent. */
  environment?: NodeJS.ProcessEnv;
}

type Told<Type extends FromProxy['type']> = Extract<FromProxy, { type: Type }>;

export class ProxyNode {
  readonly node: number;
  readonly segment: TestSegment;
  /** Where the node's certificate is. */
  readonly directory: string = mkdtempSync(join(tmpdir(), 'dvk-proxy-'));
  readonly #members: DcMember[] = [];
  readonly #options: ProxyNodeOptions;
  #proxy: ChildProcess | undefined;
  #told: FromProxy[] = [];
  #wake: () => void = () => undefined;
  port = 0;
  /** Address of its interface, once it is started. */
  #station: string | undefined;
  /** undefined: links in plain text. */
  credentials: CredentialTexts | undefined;

  constructor(node: number, others: number[], options: ProxyNodeOptions = {}) {
    this.node = node;
    this.#options = options;
    this.credentials = options.insecure === true ? undefined : AUTHORITY.texts(node);
    this.segment = new TestSegment({ nodeId: nodeId(node), dcId: dcId(DC) });
    for (const other of others) this.segment.segment.addNode(nodeId(other), `n${other}`);
  }

  get pid(): number {
    return this.#proxy?.pid ?? 0;
  }

  get proxy(): ChildProcess {
    if (!this.#proxy) throw new Error('the proxy is not started');
    return this.#proxy;
  }

  /** How other nodes reach this one. */
  get address(): ControlPeer {
    const { host = this.#station ?? HOST } = this.#options;
    return { node: this.node, name: `n${this.node}`, host, port: this.port };
  }

  /** Starts the proxy on its port of before, or on any. */
  async start(peers: ControlPeer[], dvs = 'lab'): Promise<void> {
    const { namespace, host = HOST, transports, ethernet, holdMs, environment } = this.#options;
    const others = (this.#options.others ?? []).map(({ segment: { dcId }, path }) => ({
      dcId,
      path,
    }));
    const [program, ...before] =
      namespace === undefined ? [process.execPath] : [...inNamespace(namespace), process.execPath];
    const proxy = spawn(program, [...before, PROGRAM], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      ...(environment && { env: environment }),
    });
    this.#proxy = proxy;
    this.#told = [];
    proxy.on('message', (message: FromProxy) => {
      this.#told.push(message);
      this.#wake();
    });
    this.tell({
      type: 'start',
      dvs,
      node: this.node,
      incarnation: proxy.pid ?? 0,
      listen: { host, port: this.port },
      security: this.#security(),
      segments: [{ dcId: DC, path: this.segment.path }, ...others],
      peers,
      ...(transports && { transports }),
      ...(ethernet && { ethernet }),
      ...(holdMs !== undefined && { holdMs }),
    });
    const { port, ethernet: station } = await this.told('ready');
    this.port = port;
    this.#station = station;
  }

  #security(): ControlSecurity {
    const { credentials, directory } = this;
    if (credentials === undefined) return { mode: 'insecure' };
    return { mode: 'sealed', files: writeCredentials(directory, credentials) };
  }

  /** Has the proxy take other certificates. Returns why it does not. */
  async renew(credentials: CredentialTexts): Promise<string | undefined> {
    writeCredentials(this.directory, credentials);
    this.tell({ type: 'credentials' });
    return (await this.told('credentials')).reason;
  }

  tell(message: ToProxy): void {
    this.#proxy?.send(message);
  }

  /** The next message of a type that the proxy sends and `wanted` accepts; it is taken. */
  async told<Type extends FromProxy['type']>(
    type: Type,
    wanted: (message: Told<Type>) => boolean = () => true,
  ): Promise<Told<Type>> {
    for (;;) {
      const found = this.#told.findIndex(
        (message) => message.type === type && wanted(message as Told<Type>),
      );
      if (found >= 0) return this.#told.splice(found, 1)[0] as Told<Type>;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Waits until the link to `peer` is in that state. */
  async link(peer: number, state: 'up' | 'held' | 'down'): Promise<string | undefined> {
    const told = await this.told('link', (one) => one.peer === peer && one.state === state);
    return told.reason;
  }

  async statistics(): Promise<EngineStatistics> {
    this.tell({ type: 'stats' });
    return (await this.told('stats')).stats;
  }

  /** Processes of this node: the proxy, and the members. */
  get pids(): number[] {
    return [this.pid, ...this.#members.map(({ pid }) => pid)];
  }

  async member(server?: { slot: number }, segment = this.segment): Promise<DcMember> {
    const member = await DcMember.start(segment.path, server);
    this.#members.push(member);
    return member;
  }

  /** Waits until this node knows the process. */
  async knows(endpoint: number, { segment } = this.segment): Promise<void> {
    while (!segment.isBound(endpoint as never)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Kills the proxy, and does for the segment what the node daemon does then. */
  async killProxy(peers: number[]): Promise<void> {
    this.proxy.kill('SIGKILL');
    await once(this.proxy, 'exit');
    for (const peer of peers) this.segment.segment.linkDown(nodeId(peer));
  }

  /** Ends all of it. Returns the exit code of the proxy, null when it was killed. */
  async remove(): Promise<number | null> {
    for (const member of this.#members.splice(0)) await member.kill();
    const proxy = this.#proxy;
    if (proxy?.exitCode === null && proxy.signalCode === null) {
      const exit = once(proxy, 'exit');
      proxy.send({ type: 'stop' });
      await exit;
    }
    this.segment.remove();
    rmSync(this.directory, { recursive: true, force: true });
    return proxy?.exitCode ?? null;
  }
}

/** Nodes 0 to `count` - 1, all linked; sealed when nothing else is asked for. */
export async function startNodes(
  count: number,
  optionsOf: (node: number) => ProxyNodeOptions = () => ({}),
): Promise<ProxyNode[]> {
  const numbers = Array.from({ length: count }, (_, node) => node);
  const nodes = numbers.map(
    (node) =>
      new ProxyNode(
        node,
        numbers.filter((other) => other !== node),
        optionsOf(node),
      ),
  );
  for (const node of nodes) await node.start([]);
  for (const node of nodes) {
    node.tell({ type: 'peers', peers: nodes.map((other) => other.address) });
  }
  for (const node of nodes) {
    for (const other of nodes) if (other !== node) await node.link(other.node, 'up');
  }
  return nodes;
}
