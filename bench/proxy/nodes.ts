/**
 * Two nodes of one container on this machine, as many pairs of them as links are to be compared:
 * real segments, and real proxies that talk over loopback.
 *
 * All that belongs to a node starts on the CPUs of its node and stays there.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { issue, makeAuthority, type KeyPair } from '../../src/cli/x509.ts';
import { dcId, nodeId, Segment, setAffinity } from '../../src/dvk/index.ts';
import type { ControlPeer, ControlSecurity, FromProxy } from '../../src/proxies/control.ts';
import type { StartMessage, ToProxy } from '../../src/proxies/control.ts';
import type { Cleanup } from '../cleanup.ts';
import { Peer } from '../peer-case.ts';
import type { RemoteConfig } from '../peers/remote.ts';
import { allowedCpus, cpusOfPairs, type Placement } from '../placement.ts';
import { scratchDirectory } from '../scratch.ts';

const PROXY = fileURLToPath(new URL('../../src/proxies/main.js', import.meta.url));
const DVS = 'bench';
const DC = 0;
const HOST = '127.0.0.1';
/** The interface of links over raw Ethernet. */
export const LOOPBACK = 'lo';
const DAY_MS = 86_400_000;
const SERVER_SLOT = 1;
const POLL_MS = 5;
// A busy machine is not to end a link.
const GRACE_MS = 30_000;
// A third of the dynamic slots is for each node, one for callers that others announce.
const SEGMENT = { processes: 512, nodes: 2, arenaBytes: 1 << 20 };
const ROOM = 64 * 2 ** 20;

/** What carries a link. */
export interface LinkKind {
  readonly transport: string;
  readonly sealed: boolean;
}

/** Runs `start` so that the processes which it starts are on these CPUs. */
async function startedOn<T>(cpus: readonly number[], start: () => Promise<T>): Promise<T> {
  const before = allowedCpus();
  setAffinity(cpus);
  try {
    // A child is forked within the call, before it first waits.
    const started = start();
    setAffinity(before);
    return await started;
  } finally {
    setAffinity(before);
  }
}

class Proxy {
  readonly #child: ChildProcess;
  readonly #told: FromProxy[] = [];
  #wake: () => void = () => undefined;
  #isClosing = false;

  /** `note` hears why a link was lost, which no bench does on purpose. */
  constructor(note: (what: string) => void) {
    this.#child = fork(PROXY, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.#child.on('message', (message: FromProxy) => {
      const isLoss = message.type === 'link' && message.state === 'down' && !this.#isClosing;
      if (isLoss) note(`a link was lost: ${message.reason ?? ''}`);
      this.#told.push(message);
      this.#wake();
    });
    this.#child.once('exit', () => {
      this.#told.push({ type: 'failed', reason: 'it has ended' });
      this.#wake();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  tell(message: ToProxy): void {
    this.#child.send(message);
  }

  /** Waits for a message that `read` makes something of. */
  async told<T>(read: (message: FromProxy) => T | undefined): Promise<T> {
    const timer = setTimeout(() => {
      this.#told.push({ type: 'failed', reason: 'it says nothing' });
      this.#wake();
    }, GRACE_MS);
    try {
      for (;;) {
        for (let message = this.#told.shift(); message; message = this.#told.shift()) {
          const found = read(message);
          if (found !== undefined) return found;
          if (message.type === 'failed') throw new Error(`a proxy failed: ${message.reason}`);
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    if (this.#child.connected) this.#child.disconnect();
    await exit;
  }
}

function writeCertificate(directory: string, authority: KeyPair, node: number): ControlSecurity {
  const validity = { fromMs: Date.now() - DAY_MS, toMs: Date.now() + DAY_MS };
  const made = issue(authority, { dvs: DVS, node, name: `n${String(node)}` }, validity);
  const write = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const files = {
    ca: write('ca', authority.certificate),
    certificate: write('certificate', made.certificate),
    key: write('key', made.key),
    denied: write('denied', ''),
  };
  return { mode: 'sealed', files };
}

async function startProxy(
  proxy: Proxy,
  start: Omit<StartMessage, 'type' | 'dvs' | 'incarnation' | 'listen' | 'peers'>,
): Promise<ControlPeer> {
  const incarnation = randomBytes(8).readBigUInt64LE().toString();
  const listen = { host: HOST, port: 0 };
  const times = { deadMs: GRACE_MS };
  proxy.tell({ type: 'start', dvs: DVS, incarnation, listen, peers: [], times, ...start });
  const { port, ethernet } = await proxy.told((message) =>
    message.type === 'ready' ? message : undefined,
  );
  return { node: start.node, name: `n${String(start.node)}`, host: ethernet ?? HOST, port };
}

/** A client on node 0, a server on node 1, and the link between them. */
export class LinkedNodes {
  /** On node 0. */
  readonly client: Peer;
  /** Of all processes of both nodes. */
  readonly pids: readonly number[];
  readonly #server: Peer;
  readonly #proxies: readonly Proxy[];

  private constructor(client: Peer, server: Peer, proxies: readonly Proxy[]) {
    this.client = client;
    this.#server = server;
    this.#proxies = proxies;
    this.pids = [...client.pids, ...server.pids, ...proxies.map(({ pid }) => pid)];
  }

  static async start(
    { transport, sealed }: LinkKind,
    placement: Placement,
    { cleanup, note }: { cleanup: Cleanup; note: (what: string) => void },
  ): Promise<LinkedNodes> {
    const cpus = cpusOfPairs(placement, 1)[0]!;
    const scratch = scratchDirectory(cleanup, ROOM);
    const now = Date.now();
    const authority = makeAuthority(DVS, { fromMs: now - DAY_MS, toMs: now + DAY_MS });
    const proxies: Proxy[] = [];
    const peers: ControlPeer[] = [];
    const paths: string[] = [];
    const programs: Peer[] = [];
    // For a start that fails half-way; else all of them have ended by then.
    cleanup.defer(async () => {
      for (const program of programs) await program.kill();
      for (const proxy of proxies) await proxy.close();
    });
    for (const node of [0, 1]) {
      const directory = join(scratch, String(node));
      mkdirSync(directory);
      const path = join(directory, 'segment');
      const identity = { dcId: dcId(DC), nodeId: nodeId(node), dcName: DVS, dvsName: DVS };
      Segment.create(path, { ...identity, ...SEGMENT });
      const segment = Segment.open(path);
      segment.addNode(nodeId(1 - node), `n${String(1 - node)}`);
      segment.close();
      const security: ControlSecurity = sealed
        ? writeCertificate(directory, authority, node)
        : { mode: 'insecure' };
      const proxy = await startedOn(node === 0 ? cpus.client : cpus.peer, async () =>
        Promise.resolve(new Proxy(note)),
      );
      proxies.push(proxy);
      paths.push(path);
      const segments = [{ dcId: DC, path }];
      const ethernet = transport === 'ethernet' ? { ethernet: { interface: LOOPBACK } } : {};
      const start = { node, security, segments, transports: [transport], ...ethernet };
      peers.push(await startProxy(proxy, start));
    }
    for (const proxy of proxies) proxy.tell({ type: 'peers', peers });
    for (const proxy of proxies) {
      await proxy.told((message) =>
        message.type === 'link' && message.state === 'up' ? true : undefined,
      );
    }
    const [near = '', far = ''] = paths;
    const config = { serverSlot: SERVER_SLOT };
    const server = await startedOn(cpus.peer, async () => {
      const own: RemoteConfig = { ...config, role: 'server', segment: far };
      return Peer.start('remote', own);
    });
    programs.push(server);
    await known(near);
    const client = await startedOn(cpus.client, async () => {
      const own: RemoteConfig = { ...config, role: 'client', segment: near };
      return Peer.start('remote', own);
    });
    programs.push(client);
    return new LinkedNodes(client, server, proxies);
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.#server.close();
    await Promise.all(this.#proxies.map(async (proxy) => proxy.close()));
  }
}

/** Waits until the node of this segment knows the server. */
async function known(path: string): Promise<void> {
  const segment = Segment.open(path);
  const deadline = Date.now() + GRACE_MS;
  while (segment.lookup(SERVER_SLOT) === undefined) {
    if (Date.now() > deadline) throw new Error('the server is not announced to the other node');
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  segment.close();
}
