/** What a node's daemon tells about itself; the answers to calls of its socket. */
import type { LinkInfo, ProcessInfo, SegmentInfo } from '../dvk/index.ts';
import type { EngineStatistics } from '../proxies/engine.ts';
import type { ServiceSpec } from '../vos/spec.ts';

/** `stopped` was asked for; `down` was not. */
export type ChildState = 'stopped' | 'starting' | 'up' | 'down';

export interface ChildReport {
  readonly state: ChildState;
  /** When it came into this state, in ms of the wall clock. */
  readonly since: number;
  readonly pid: number | null;
  /** Why it is down. */
  readonly reason: string | null;
}

export interface LinkReport {
  readonly peer: number;
  /** `held`: the connection is lost, and the session waits for another. */
  readonly state: 'up' | 'held' | 'down';
  readonly since: number;
  readonly reason: string | null;
}

export interface ProxyReport extends ChildReport {
  /** HOST:PORT that the proxy accepts links on. */
  readonly address: string | null;
  readonly links: readonly LinkReport[];
  /** The proxy's own counters, as it last told them; null when it has not told any. */
  readonly stats: EngineStatistics | null;
}

export interface ServiceReport extends ChildReport {
  readonly container: string;
  readonly spec: ServiceSpec;
  /** What the service said when it was ready. */
  readonly info: Readonly<Record<string, unknown>>;
}

/** The answer to `counters`: what a service has counted, by name; null when nobody says. */
export type CountersReport = Readonly<Record<string, number>> | null;

export interface ContainerReport {
  readonly name: string;
  readonly id: number;
  readonly segment: string;
  readonly state: SegmentInfo['state'];
  readonly processSlots: number;
  /** Processes of this node. */
  readonly localProcesses: number;
  /** Processes of other nodes that are known here. */
  readonly remoteProcesses: number;
  readonly arenaBytes: number;
  readonly arenaUsedBytes: number;
  readonly links: readonly LinkInfo[];
}

export interface NodeReport {
  readonly dvs: string;
  readonly node: number;
  readonly pid: number;
  readonly since: number;
  readonly containers: readonly ContainerReport[];
  readonly proxy: ProxyReport;
  readonly services: readonly ServiceReport[];
}

/** What a daemon tells the command that started it, over the IPC channel. */
export type DaemonMessage =
  { readonly type: 'ready' } | { readonly type: 'failed'; readonly error: string };

/** Processes that a node knows of, by container. */
export type ProcessesReport = readonly {
  readonly container: string;
  readonly processes: readonly ProcessInfo[];
}[];
