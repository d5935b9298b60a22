/** A node's proxy process, and what the daemon knows of the links to other nodes. */
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import { systemClock } from '../dvk/clock.ts';
import type { ControlSecurity } from '../proxies/control.ts';
import { formatAddress, type Address } from '../vos/spec-reader.ts';
import { Child, type Message } from './child.ts';
import { logEvent } from './output.ts';
import type { ProcessId } from './process-table.ts';
import type { LinkReport, ProxyReport } from './report.ts';

const STATISTICS_WAIT_MS = 200;
const SCRIPT = fileURLToPath(new URL('../proxies/main.js', import.meta.url));

/** Where another node's proxy listens. */
export interface Peer {
  readonly node: number;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** What carries the link to it. */
  readonly transport: string;
}

/** What a proxy needs to start. */
export interface ProxyStart {
  readonly listen: Address;
  readonly peers: readonly Peer[];
  /** All that it listens on. */
  readonly transports: readonly string[];
}

export interface NodeProxyOptions {
  readonly dvs: string;
  readonly node: number;
  readonly log: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly security: ControlSecurity;
  readonly segments: () => readonly { dcId: number; path: string }[];
  readonly onChange: () => void;
  /** The proxy has died: links are down, and nobody else says so to those who wait. */
  readonly onDeath: () => void;
}

export class NodeProxy {
  readonly #options: NodeProxyOptions;
  readonly #child: Child;
  readonly #links = new Map<number, LinkReport>();
  #address: Address | undefined;
  #stats: ProxyReport['stats'] = null;
  readonly #statisticsWaiters: (() => void)[] = [];
  readonly #renewals: ((reason: string | undefined) => void)[] = [];

  constructor(options: NodeProxyOptions) {
    this.#options = options;
    this.#child = new Child({
      name: 'proxy',
      script: SCRIPT,
      log: options.log,
      environment: options.environment,
      onMessage: (message) => {
        this.#onMessage(message);
      },
      onChange: () => {
        this.#onChange();
      },
    });
  }

  get id(): ProcessId | undefined {
    return this.#child.id;
  }

  /** Starts the proxy. Returns the port that it listens on. */
  async start({ listen, peers, transports }: ProxyStart): Promise<number> {
    const { dvs, node, security, segments } = this.#options;
    this.#setPeers(peers);
    const ready = await this.#child.start({
      type: 'start',
      dvs,
      node,
      // New at each start, so that peers never take this proxy's sequence numbers for those of the
      // one before.
      incarnation: randomInt(1, 2 ** 32),
      listen,
      security,
      segments: segments(),
      peers,
      transports,
    });
    const port = Number(ready['port']);
    this.#address = { host: listen.host, port };
    return port;
  }

  setPeers(peers: readonly Peer[]): void {
    this.#setPeers(peers);
    this.#child.send({ type: 'peers', peers });
  }

  /** Has the proxy read its certificates anew. Throws when it cannot use them. */
  async renewCredentials(): Promise<void> {
    if (this.#child.state !== 'up' || this.#options.security.mode === 'insecure') return;
    const reason = await new Promise<string | undefined>((resolve) => {
      this.#renewals.push(resolve);
      this.#child.send({ type: 'credentials' });
    });
    logEvent('credentials.renewed', { node: this.#options.node, reason });
    if (reason !== undefined) throw new Error(reason);
  }

  async stop(): Promise<void> {
    this.#child.send({ type: 'stop' });
    await this.#child.stop();
  }

  /** Its counters are those of now, or the last ones when the proxy does not answer at once. */
  async report(): Promise<ProxyReport> {
    if (this.#child.state === 'up') await this.#askStatistics();
    const address = this.#address === undefined ? null : formatAddress(this.#address);
    const links = [...this.#links.values()].sort((a, b) => a.peer - b.peer);
    return { ...this.#child.report(), address, links, stats: this.#stats };
  }

  async #askStatistics(): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = systemClock.after(STATISTICS_WAIT_MS, resolve);
      this.#statisticsWaiters.push(() => {
        cancel();
        resolve();
      });
      this.#child.send({ type: 'stats' });
    });
  }

  #setPeers(peers: readonly Peer[]): void {
    const present = new Set(peers.map(({ node }) => node));
    for (const node of this.#links.keys()) if (!present.has(node)) this.#links.delete(node);
    for (const node of present) if (!this.#links.has(node)) this.#setLink(node, 'down', null);
  }

  #setLink(peer: number, state: LinkReport['state'], reason: string | null): void {
    const before = this.#links.get(peer);
    if (before?.state === state && before.reason === reason) return;
    const since = before?.state === state ? before.since : Date.now();
    this.#links.set(peer, { peer, state, since, reason });
  }

  #onMessage(message: Message): void {
    if (message.type === 'link') {
      const [peer, state] = [Number(message['peer']), message['state']];
      const reason = typeof message['reason'] === 'string' ? message['reason'] : null;
      const known = state === 'up' || state === 'held' ? state : 'down';
      this.#setLink(peer, known, known === 'up' ? null : reason);
      logEvent('link.changed', { peer, state, reason });
    } else if (message.type === 'link-failed') {
      const [peer, reason] = [Number(message['peer']), String(message['reason'])];
      const held = this.#links.get(peer)?.state === 'held';
      this.#setLink(peer, held ? 'held' : 'down', reason);
      logEvent('link.failed', { peer, reason });
    } else if (message.type === 'credentials') {
      const reason = message['reason'];
      this.#renewals.shift()?.(typeof reason === 'string' ? reason : undefined);
    } else if (message.type === 'stats') {
      this.#stats = message['stats'] as ProxyReport['stats'];
      for (const tell of this.#statisticsWaiters.splice(0)) tell();
    }
  }

  #onChange(): void {
    if (this.#child.id === undefined && this.#child.state !== 'starting') {
      for (const resolve of this.#renewals.splice(0)) resolve('the proxy went down');
      const wasUp = [...this.#links.values()].some((link) => link.state !== 'down');
      for (const peer of this.#links.keys()) {
        this.#setLink(peer, 'down', `the proxy of node ${String(this.#options.node)} is down`);
      }
      if (wasUp) this.#options.onDeath();
    }
    this.#options.onChange();
  }
}
