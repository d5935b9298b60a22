/** A node's proxy process, and what the daemon knows of the links to other nodes. */
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import type { PathChange } from '../proxies/bond.ts';
import type { ControlEthernet, ControlSecurity } from '../proxies/control.ts';
import type { ProxySettings, SettingChange } from '../proxies/settings.ts';
import { formatAddress, type Address } from '../vos/spec-reader.ts';
import { Child, type Message } from './child.ts';
import { logEvent } from './output.ts';
import type { ProcessId } from './process-table.ts';
import type { LinkReport, ProxyReport } from './report.ts';

const STATISTICS_WAIT_MS = 200;
const SCRIPT = fileURLToPath(new URL('../proxies/main.js', import.meta.url));

/** Where another node's proxy takes a path. */
export interface PeerPath {
  /** The address of its interface, where the path is over Ethernet. */
  readonly host: string;
  readonly port: number;
  /** What carries it. */
  readonly transport: string;
  /** What it is called. */
  readonly path: string;
}

/** How another node's proxy is reached. */
export interface Peer extends PeerPath {
  readonly node: number;
  readonly name: string;
  /** Further paths, each preferred to those behind it. */
  readonly others: readonly PeerPath[];
}

/** What a proxy needs to start. */
export interface ProxyStart {
  readonly listen: Address;
  /** Where it listens too, for single paths. */
  readonly more: readonly Address[];
  readonly peers: readonly Peer[];
  /** All that it listens on. */
  readonly transports: readonly string[];
  /** The interface of links over Ethernet, if there are any. */
  readonly ethernet?: ControlEthernet;
  /** How long a session without a connection is held, when the spec says so. */
  readonly holdMs?: number;
  /** What is packed by LZ4, when the spec says so. */
  readonly compress?: ProxySettings['compress'];
  readonly compressSealed?: ProxySettings['compressSealed'];
}

/** Where a proxy listens. */
export interface ProxyPlace {
  readonly port: number;
  /** Address of its interface, when it has links over Ethernet. */
  readonly ethernet?: string;
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
  #address: string | undefined;
  #stats: ProxyReport['stats'] = null;
  readonly #renewals: ((reason: string | undefined) => void)[] = [];
  readonly #settings: ((answer: SettingChange[] | string) => void)[] = [];
  readonly #choices: ((reason: string | undefined) => void)[] = [];

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

  /** Starts the proxy. Returns where it listens. */
  async start(start: ProxyStart): Promise<ProxyPlace> {
    const { listen, more, peers, transports, ethernet, holdMs, compress, compressSealed } = start;
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
      more,
      security,
      segments: segments(),
      peers,
      transports,
      ...(ethernet && { ethernet }),
      ...(holdMs !== undefined && { holdMs }),
      ...(compress && { compress }),
      ...(compressSealed && { compressSealed }),
    });
    const port = Number(ready['port']);
    const station = ready['ethernet'];
    const places = transports.some((name) => name !== 'ethernet')
      ? [formatAddress({ host: listen.host, port })]
      : [];
    if (ethernet === undefined || typeof station !== 'string') {
      this.#address = places.join(' ');
      return { port };
    }
    places.push(`ethernet://${ethernet.interface}/${station}:${String(port)}`);
    this.#address = places.join(' ');
    return { port, ethernet: station };
  }

  setPeers(peers: readonly Peer[]): void {
    this.#setPeers(peers);
    this.#child.send({ type: 'peers', peers });
  }

  /** Has the proxy serve what there is now. */
  setSegments(): void {
    this.#child.send({ type: 'segments', segments: this.#options.segments() });
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

  /** Changes settings of the proxy, all or none. Throws when they are wrong, or it is down. */
  async set(settings: Readonly<Record<string, unknown>>): Promise<SettingChange[]> {
    if (this.#child.state !== 'up') throw new Error('the proxy is down');
    const answer = await new Promise<SettingChange[] | string>((resolve) => {
      this.#settings.push(resolve);
      this.#child.send({ type: 'set', settings });
    });
    logEvent('proxy.set', { node: this.#options.node, settings, answer });
    if (typeof answer === 'string') throw new Error(answer);
    return answer;
  }

  /** Prefers, forbids or allows paths to a peer. Throws when that cannot be, or it is down. */
  async setPaths(peer: number, change: PathChange): Promise<void> {
    if (this.#child.state !== 'up') throw new Error('the proxy is down');
    const reason = await new Promise<string | undefined>((resolve) => {
      this.#choices.push(resolve);
      this.#child.send({ type: 'paths', peer, change });
    });
    logEvent('proxy.paths', { node: this.#options.node, peer, change, reason });
    if (reason !== undefined) throw new Error(reason);
  }

  async stop(): Promise<void> {
    this.#child.send({ type: 'stop' });
    await this.#child.stop();
  }

  /** Its counters are those of now, or the last ones when the proxy does not answer at once. */
  async report(): Promise<ProxyReport> {
    if (this.#child.state === 'up') await this.#child.ask('stats', STATISTICS_WAIT_MS);
    const address = this.#address ?? null;
    const links = [...this.#links.values()].sort((a, b) => a.peer - b.peer);
    return { ...this.#child.report(), address, links, stats: this.#stats };
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
    } else if (message.type === 'moved') {
      const { peer, path, reason } = message;
      logEvent('link.moved', { peer, path, reason });
    } else if (message.type === 'paths') {
      const { reason } = message;
      this.#choices.shift()?.(typeof reason === 'string' ? reason : undefined);
    } else if (message.type === 'credentials') {
      const reason = message['reason'];
      this.#renewals.shift()?.(typeof reason === 'string' ? reason : undefined);
    } else if (message.type === 'set') {
      const { reason, changes } = message;
      const answer = typeof reason === 'string' ? reason : (changes as SettingChange[]);
      this.#settings.shift()?.(answer);
    } else if (message.type === 'stats') {
      this.#stats = message['stats'] as ProxyReport['stats'];
    }
  }

  #onChange(): void {
    if (this.#child.id === undefined && this.#child.state !== 'starting') {
      for (const resolve of this.#renewals.splice(0)) resolve('the proxy went down');
      for (const resolve of this.#settings.splice(0)) resolve('the proxy went down');
      for (const resolve of this.#choices.splice(0)) resolve('the proxy went down');
      const wasUp = [...this.#links.values()].some((link) => link.state !== 'down');
      for (const peer of this.#links.keys()) {
        this.#setLink(peer, 'down', `the proxy of node ${String(this.#options.node)} is down`);
      }
      if (wasUp) this.#options.onDeath();
    }
    this.#options.onChange();
  }
}
