/**
 * The daemon of one node: it owns the node's segments, its proxy and its services, and answers on a
 * unix socket.
 *
 * A node is its daemon: children are bound to its life, so when it dies, however it dies, the node
 * is gone and its peers see the links go down. What it leaves in its directory is removed by the
 * next command that changes the DVS.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';

import { systemClock } from '../dvk/clock.ts';
import type { PathChange } from '../proxies/bond.ts';
import type { ControlSecurity } from '../proxies/control.ts';
import type { ServiceSpec } from '../vos/spec.ts';
import { serve, type Handler } from './channel.ts';
import { ClusterDirectory } from './cluster-directory.ts';
import { exposition } from './metrics.ts';
import { NodeContainers } from './node-containers.ts';
import { NodeProxy, type Peer, type ProxyStart } from './node-proxy.ts';
import { NodeServices } from './node-services.ts';
import { CliError, logEvent } from './output.ts';
import { identify, isAlive, type ProcessId } from './process-table.ts';
import type { DaemonMessage, NodeReport } from './report.ts';
import { INSECURE_WARNING } from './security.ts';
import {
  DVS_VARIABLE,
  DvsPaths,
  NODE_VARIABLE,
  readDaemonRecord,
  readState,
  writeAtomically,
  type DaemonRecord,
  type DvsState,
  type NodePaths,
} from './runtime.ts';

// Long enough for the answer to `stop` to leave the process.
const EXIT_DELAY_MS = 50;

export class NodeDaemon {
  readonly #state: DvsState;
  readonly #node: number;
  readonly #paths: NodePaths;
  readonly #since = Date.now();
  readonly #self: ProcessId;
  readonly #containers: NodeContainers;
  readonly #proxy: NodeProxy;
  readonly #services: NodeServices;
  #server: Server | undefined;
  #stopping: Promise<void> | undefined;

  constructor(paths: DvsPaths, state: DvsState, node: number) {
    this.#state = state;
    this.#node = node;
    this.#paths = paths.node(node);
    this.#self = claim(this.#paths, node);
    const { spec } = state;
    const environment = { [DVS_VARIABLE]: paths.root, [NODE_VARIABLE]: this.#paths.root };
    const onChange = (): void => {
      this.#record();
    };
    this.#containers = new NodeContainers(spec, node, this.#paths, () => {
      this.#proxy.setSegments();
    });
    this.#proxy = new NodeProxy({
      dvs: spec.dvs,
      node,
      log: this.#paths.log('proxy'),
      environment,
      security: this.#security(),
      segments: () => this.#containers.segments(),
      onChange,
      onDeath: () => {
        this.#containers.linksDown();
      },
    });
    this.#services = new NodeServices({ spec, node, paths: this.#paths, environment, onChange });
    this.#record();
  }

  #security(): ControlSecurity {
    const { security } = this.#state;
    if (security.mode === 'insecure') return { mode: 'insecure' };
    return { mode: 'sealed', files: new ClusterDirectory(security.directory).files(this.#node) };
  }

  async listen(): Promise<void> {
    rmSync(this.#paths.socket, { force: true });
    this.#server = await serve(this.#paths.socket, this.#handlers());
    logEvent('node.started', { dvs: this.#state.spec.dvs, node: this.#node, pid: process.pid });
    if (this.#state.security.mode === 'insecure') {
      logEvent('node.insecure', { warning: INSECURE_WARNING });
    }
  }

  #handlers(): Record<string, Handler> {
    return {
      status: async () => this.#report(),
      processes: () => this.#containers.processes(),
      startProxy: async (parameters) => this.#proxy.start(parameters as unknown as ProxyStart),
      stopProxy: async () => this.#proxy.stop(),
      setPeers: ({ peers }) => {
        this.#proxy.setPeers(peers as readonly Peer[]);
      },
      setProxy: async (settings) => this.#proxy.set(settings),
      setPaths: async ({ peer, change }) =>
        this.#proxy.setPaths(Number(peer), change as PathChange),
      metrics: async () => this.#metrics(),
      renewCredentials: async () => this.#proxy.renewCredentials(),
      startService: async ({ name }) => this.#services.start(String(name)),
      addService: ({ container, service }) => {
        this.#services.add(String(container), service as ServiceSpec);
      },
      removeService: ({ name }) => {
        this.#services.remove(String(name));
      },
      counters: async ({ name }) => this.#services.counters(String(name)),
      stopService: async ({ name }) => this.#services.stop(String(name)),
      stop: async () => this.stop(),
    };
  }

  async #report(): Promise<NodeReport> {
    return {
      dvs: this.#state.spec.dvs,
      node: this.#node,
      pid: process.pid,
      since: this.#since,
      containers: this.#containers.report(),
      proxy: await this.#proxy.report(),
      services: this.#services.report(),
    };
  }

  async #metrics(): Promise<string> {
    const { dvs, containers } = this.#state.spec;
    const { state, stats } = await this.#proxy.report();
    return exposition(dvs, [{ node: this.#node, state, stats }], containers);
  }

  #record(): void {
    const children = [this.#proxy.id ?? [], this.#services.ids()].flat();
    const record: DaemonRecord = { daemon: this.#self, children };
    if (existsSync(this.#paths.root)) {
      writeAtomically(this.#paths.record, `${JSON.stringify(record)}\n`);
    }
  }

  /** Ends everything of the node, then the process. */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    await this.#stopping;
  }

  async #stop(): Promise<void> {
    await this.#services.stopAll();
    await this.#proxy.stop();
    this.#containers.end();
    this.#server?.close();
    rmSync(this.#paths.socket, { force: true });
    rmSync(this.#paths.record, { force: true });
    logEvent('node.stopped', { node: this.#node });
    systemClock.after(EXIT_DELAY_MS, () => process.exit(0));
  }
}

// The commands start one daemon a node under the DVS's lock; this is for those who run one by hand.
function claim(paths: NodePaths, node: number): ProcessId {
  const present = readDaemonRecord(paths)?.daemon;
  if (present !== undefined && isAlive(present)) {
    throw new CliError(`node ${String(node)} runs already, as process ${String(present.pid)}`);
  }
  const self = identify(process.pid);
  if (self === undefined) throw new CliError('/proc is not mounted', 'mount -t proc proc /proc');
  mkdirSync(paths.wake, { recursive: true, mode: 0o700 });
  return self;
}

// The command may have gone away meanwhile; the daemon goes on all the same.
async function tell(message: DaemonMessage): Promise<void> {
  const send = process.send?.bind(process);
  if (send === undefined || !process.connected) return;
  await new Promise<void>((resolve) => {
    send(message, undefined, undefined, () => {
      resolve();
    });
  });
}

/** Runs the daemon of a node until it is stopped. */
export async function runDaemon(runtime: string, dvs: string, node: number): Promise<void> {
  try {
    const paths = new DvsPaths(runtime, dvs);
    const state = readState(paths);
    if (state === undefined) throw new CliError(`there is no DVS in ${paths.root}`);
    if (!state.spec.nodes.some(({ id }) => id === node)) {
      throw new CliError(`DVS ${dvs} has no node ${String(node)}`);
    }
    const daemon = new NodeDaemon(paths, state, node);
    await daemon.listen();
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => void daemon.stop());
    }
    process.on('SIGHUP', () => undefined);
    await tell({ type: 'ready' });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    logEvent('node.failed', { error: text });
    await tell({ type: 'failed', error: text });
    throw error;
  }
}
