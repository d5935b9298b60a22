/**
 * The proxy program of a node. The node daemon starts it and talks to it over IPC; see control.ts.
 *
 * It ends with its daemon: when the channel closes, or at SIGTERM, it tells its peers, lets every
 * caller that waits for another node go with ENOTCONN, and exits with 0 within two seconds. SIGINT
 * is left to the daemon, since a terminal sends it to both.
 */
import { systemClock } from '../dvk/clock.ts';
import { crc32c } from '../dvk/crc32c.ts';
import { dcId, nodeId } from '../dvk/endpoint.ts';
import { Segment } from '../dvk/segment.ts';
import { leaveNoDump } from '../dvk/system.ts';
import { Admission } from './admission.ts';
import { BusyPoll } from './busy-poll.ts';
import type { ControlPeer, ControlSegment, FromProxy, StartMessage, ToProxy } from './control.ts';
import { courtesy } from './courtesy.ts';
import { readCredentials, type Credentials } from './credentials.ts';
import { ethernetTransport, interfaceAddress } from './ethernet.ts';
import { Engine, type EngineOptions } from './engine.ts';
import type { PeerAddress } from './peer.ts';
import { DEFAULT_TIMES } from './session.ts';
import { DEFAULT_SETTINGS, type ProxySettings } from './settings.ts';
import { tcpTransport } from './tcp.ts';
import { tlsTransport } from './tls.ts';
import type { Transport } from './transport.ts';
import { udpTransport } from './udp.ts';

/** A parent that is gone hears nothing; its end is noticed by `disconnect`. */
function tell(message: FromProxy): void {
  if (process.connected) process.send?.(message, undefined, {}, () => undefined);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

type TransportOptions = Pick<StartMessage, 'ethernet'> & {
  admission: Admission;
  poll: BusyPoll;
  credentials?: () => Credentials;
};

/** The transport of this name: sealed with credentials, in plain text without. */
function transportOf(
  name: string,
  { ethernet, credentials, admission, poll }: TransportOptions,
): Transport {
  switch (name) {
    case 'tcp':
      if (!credentials) return tcpTransport(systemClock);
      return tlsTransport(systemClock, credentials, admission);
    case 'udp':
      return udpTransport(systemClock, { credentials, admission, poll });
    case 'ethernet':
      if (ethernet === undefined) throw new Error('there is no interface for links over Ethernet');
      return ethernetTransport(systemClock, { ...ethernet, credentials, admission, poll });
    default:
      throw new Error(`no transport is called ${name}`);
  }
}

/** Of these names; the first is that of most links. Throws when there is none of a name. */
function transportsFor(
  names: readonly string[],
  options: TransportOptions,
): Pick<EngineOptions, 'transport' | 'alternatives'> {
  const [transport, ...alternatives] = names.map((name) => transportOf(name, options));
  if (transport === undefined) throw new Error('there is no transport to listen on');
  return { transport, alternatives };
}

function peerAddresses(peers: readonly ControlPeer[]): PeerAddress[] {
  return peers.map((peer) => ({ ...peer, node: nodeId(peer.node) }));
}

/** The certificate of this node. Throws when it is that of another one. */
function ownCredentials({ dvs, node, security }: StartMessage): Credentials | undefined {
  if (security.mode === 'insecure') return undefined;
  // Before there is a key in it.
  leaveNoDump();
  const credentials = readCredentials(security.files, Date.now());
  const { self } = credentials;
  if (self.dvs === dvs && self.node === node) return credentials;
  const found = `for node ${self.node} of DVS ${self.dvs}`;
  throw new Error(`${security.files.certificate} is ${found}, not for node ${node} of ${dvs}`);
}

function settingsOf({ times, holdMs, compress, compressSealed }: StartMessage): ProxySettings {
  return {
    ...{ ...DEFAULT_SETTINGS, ...DEFAULT_TIMES, ...times },
    ...(holdMs !== undefined && { holdMs }),
    ...(compress && { compress }),
    ...(compressSealed && { compressSealed }),
  };
}

class ProxyProgram {
  readonly #segments = new Map<string, Segment>();
  #engine: Engine | undefined;
  #started: StartMessage | undefined;
  #credentials: Credentials | undefined;
  #stopping = false;

  handle(message: ToProxy): void {
    switch (message.type) {
      case 'start':
        void this.#start(message);
        break;
      case 'peers':
        this.#engine?.setPeers(peerAddresses(message.peers));
        break;
      case 'segments':
        this.#serve(message.segments);
        break;
      case 'credentials':
        this.#renew();
        break;
      case 'stats':
        if (this.#engine) tell({ type: 'stats', stats: this.#engine.statistics() });
        break;
      case 'set':
        this.#set(message.settings);
        break;
      case 'paths':
        this.#setPaths(message);
        break;
      case 'stop':
        void this.stop();
        break;
    }
  }

  async stop(code = 0): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.#engine?.stop();
    for (const segment of this.#segments.values()) segment.close();
    process.exit(code);
  }

  async #start(message: StartMessage): Promise<void> {
    if (this.#engine) return;
    try {
      this.#started = message;
      this.#credentials = ownCredentials(message);
      const settings = settingsOf(message);
      const poll = new BusyPoll({ nowMs: () => systemClock.nowMs(), nextTurn: setImmediate });
      const engine = new Engine({
        dvs: message.dvs,
        node: nodeId(message.node),
        incarnation: BigInt.asUintN(64, BigInt(message.incarnation)),
        ...this.#links(message, { admission: new Admission(settings), poll }),
        clock: systemClock,
        checksum: crc32c,
        settings,
        poll,
        onLink: (peer, state, why) => {
          const reason = why && `${why.code}: ${why.detail}`;
          tell({ type: 'link', peer: peer.node, state, ...(reason !== undefined && { reason }) });
        },
        onMove: (peer, path, { code, detail }) => {
          tell({ type: 'moved', peer: peer.node, path, reason: `${code}: ${detail}` });
        },
        onFailure: (peer, { code, detail }) => {
          tell({ type: 'link-failed', peer: peer.node, reason: `${code}: ${detail}` });
        },
      });
      this.#engine = engine;
      this.#serve(message.segments);
      engine.setPeers(peerAddresses(message.peers));
      const port = await engine.start(message.listen, message.more);
      const { ethernet } = message;
      const address = ethernet && { ethernet: interfaceAddress(ethernet) };
      tell({ type: 'ready', port, ...address });
    } catch (error) {
      tell({ type: 'failed', reason: textOf(error) });
      await this.stop(1);
    }
  }

  #links(
    { transports = ['tcp'], ethernet }: StartMessage,
    tools: Pick<TransportOptions, 'admission' | 'poll'>,
  ): Pick<EngineOptions, 'transport' | 'alternatives' | 'outdated'> {
    const shared = { ...tools, ...(ethernet && { ethernet }) };
    const credentials = this.#credentials;
    if (!credentials) return transportsFor(transports, shared);
    const current = (): Credentials => this.#credentials ?? credentials;
    return {
      ...transportsFor(transports, { ...shared, credentials: current }),
      outdated: (certificate) => current().expired(certificate, Date.now()),
    };
  }

  #set(settings: Record<string, unknown>): void {
    if (!this.#engine) return;
    try {
      tell({ type: 'set', changes: this.#engine.set(settings) });
    } catch (error) {
      tell({ type: 'set', reason: textOf(error) });
    }
  }

  #setPaths({ peer, change }: Extract<ToProxy, { type: 'paths' }>): void {
    if (!this.#engine) return;
    try {
      this.#engine.setPaths(peer, change);
      tell({ type: 'paths' });
    } catch (error) {
      tell({ type: 'paths', reason: textOf(error) });
    }
  }

  // Files that cannot be used leave the links as they are.
  #renew(): void {
    if (!this.#started || !this.#credentials) return;
    try {
      this.#credentials = ownCredentials(this.#started);
      tell({ type: 'credentials' });
    } catch (error) {
      tell({ type: 'credentials', reason: textOf(error) });
    }
  }

  /** Opens the segments that are new, serves those of the list, and closes the others. */
  #serve(wanted: readonly ControlSegment[]): void {
    const paths = new Set(wanted.map((entry) => entry.path));
    for (const entry of wanted) {
      if (!this.#segments.has(entry.path)) this.#open(entry);
    }
    const served = [...this.#segments].filter(([path]) => paths.has(path));
    this.#engine?.setSegments(served.map(([, segment]) => segment));
    for (const [path, segment] of this.#segments) {
      if (paths.has(path)) continue;
      this.#segments.delete(path);
      segment.close();
    }
  }

  #open(entry: ControlSegment): void {
    try {
      const segment = Segment.open(entry.path);
      if (segment.dcId !== dcId(entry.dcId)) {
        segment.close();
        throw new Error(`the segment is of DC ${segment.dcId}`);
      }
      this.#segments.set(entry.path, segment);
    } catch (error) {
      tell({ type: 'segment-failed', dcId: entry.dcId, reason: textOf(error) });
    }
  }
}

courtesy.begin();
const program = new ProxyProgram();
process.on('message', (message) => program.handle(message as ToProxy));
process.on('disconnect', () => void program.stop());
process.on('SIGTERM', () => void program.stop());
process.on('SIGINT', () => undefined);
