/**
 * The containers of one node: their segments, and the watch over the processes bound in them.
 *
 * The daemon is the monitor of section 3 of the architecture: it holds a pidfd for each local
 * process, so that one which dies without unbinding has its slot freed at once, and everybody who
 * waits for it wakes with an error.
 */
import { randomInt } from 'node:crypto';
import { rmSync } from 'node:fs';

import { systemClock } from '../dvk/clock.ts';
import {
  closeFd,
  dcId,
  isDvkError,
  Limit,
  nodeId,
  pidfdOpen,
  Segment,
  watchReadable,
  type Endpoint,
  type ProcessInfo,
} from '../dvk/index.ts';
import type { ContainerSpec, DvsSpec } from '../vos/spec.ts';
import { logEvent } from './output.ts';
import type { ContainerReport, ProcessesReport } from './report.ts';
import type { NodePaths } from './runtime.ts';

// A bind is told by the FIFO; this is the net below it.
const SWEEP_MS = 1000;

/** The monitor of one segment. */
class Monitor {
  readonly #segment: Segment;
  readonly #watched = new Map<Endpoint, () => void>();
  readonly #stopWatching: () => void;

  constructor(segment: Segment) {
    this.#segment = segment;
    this.#stopWatching = segment.watchBinds(() => {
      this.scan();
    });
    this.scan();
  }

  /** Looks who is bound now: begins to watch the new ones, and forgets those that unbound. */
  scan(): void {
    const bound = new Set<Endpoint>();
    for (const info of this.#segment.processes()) {
      if (info.life !== 'local' && info.life !== 'dying' && !info.backup) continue;
      bound.add(info.endpoint);
      if (!this.#watched.has(info.endpoint)) this.#watch(info);
      // A thread that ends tells nobody, while its program lives.
      else if (info.thread !== 0) this.#reap(info.slot, info.endpoint, info.name);
    }
    for (const [endpoint, stop] of this.#watched) {
      if (bound.has(endpoint)) continue;
      stop();
      this.#watched.delete(endpoint);
    }
  }

  #watch({ pid, slot, endpoint, name }: ProcessInfo): void {
    if (pid <= 0) return;
    let fd: number;
    try {
      fd = pidfdOpen(pid);
    } catch (error) {
      if (!isDvkError(error, 'ESRCH')) throw error;
      this.#reap(slot, endpoint, name);
      return;
    }
    const stop = watchReadable(fd, () => {
      // Not watched any more: where the table is locked, the next sweep tries again.
      this.#watched.get(endpoint)?.();
      this.#watched.delete(endpoint);
      this.#reap(slot, endpoint, name);
    });
    this.#watched.set(endpoint, () => {
      stop();
      closeFd(fd);
    });
    // The pid may have been given to another process before the pidfd was opened; reap compares
    // start times.
    this.#reap(slot, endpoint, name);
  }

  #reap(slot: number, endpoint: Endpoint, name: string): void {
    if (this.#segment.reap(slot, endpoint)) logEvent('process.reaped', { slot, endpoint, name });
  }

  /** The net below: what is bound, and what a process died in the middle of. */
  sweep(): void {
    this.#segment.sweep();
    this.scan();
  }

  stop(): void {
    this.#stopWatching();
    for (const stop of this.#watched.values()) stop();
    this.#watched.clear();
  }
}

interface Container {
  readonly spec: ContainerSpec;
  readonly path: string;
  readonly segment: Segment;
  readonly monitor: Monitor;
}

export class NodeContainers {
  readonly #containers = new Map<string, Container>();
  /** Names of those that ended, and not by this daemon. */
  readonly #lost = new Set<string>();
  readonly #onLost: () => void;
  #cancelSweep: () => void = () => undefined;

  /**
   * Makes the segments of every container that has this node as a member. `onLost` is called when
   * there are fewer to serve: a member has ended one, or made away with its tables.
   */
  constructor(spec: DvsSpec, node: number, paths: NodePaths, onLost: () => void) {
    this.#onLost = onLost;
    for (const container of spec.containers) {
      if (!container.nodes.includes(node)) continue;
      const path = paths.segment(container.name);
      removeSegment(path);
      const segment = makeSegment({ spec, container, node, path });
      this.#containers.set(container.name, {
        spec: container,
        path,
        segment,
        monitor: new Monitor(segment),
      });
    }
    this.#sweep();
  }

  #sweep(): void {
    for (const container of this.#containers.values()) {
      container.monitor.sweep();
      container.segment.sweepTrace();
      this.#lookWhetherLost(container);
    }
    this.#cancelSweep = systemClock.after(SWEEP_MS, () => {
      this.#sweep();
    });
  }

  // See native/core/lost_pages.h. Who waits is told, also by the proxies of other nodes.
  #lookWhetherLost({ spec, segment }: Container): void {
    if (this.#lost.has(spec.name) || segment.info().state === 'running') return;
    this.#lost.add(spec.name);
    logEvent('container.lost', { container: spec.name });
    segment.endContainer();
    this.#onLost();
  }

  /** What the proxy serves. */
  segments(): { dcId: number; path: string }[] {
    const present = [...this.#containers.values()].filter(({ spec }) => !this.#lost.has(spec.name));
    return present.map(({ spec, path }) => ({ dcId: spec.id, path }));
  }

  /**
   * Ends the calls that wait for other nodes; for when the proxy is gone and cannot. Also of links
   * that are down: it may have died while it took them down.
   */
  linksDown(): void {
    for (const { segment } of this.#containers.values()) {
      for (const link of segment.links()) {
        if (link.state !== 'local') segment.linkDown(link.node);
      }
    }
  }

  report(): ContainerReport[] {
    return [...this.#containers.values()].map(({ spec, path, segment }) => {
      const info = segment.info();
      const processes = segment.processes();
      return {
        name: spec.name,
        id: spec.id,
        segment: path,
        state: info.state,
        processSlots: info.processes,
        localProcesses: processes.filter((process) => process.life === 'local').length,
        remoteProcesses: processes.filter((process) => process.life === 'remote').length,
        arenaBytes: info.arenaBytes,
        arenaUsedBytes: segment.arenaUsed(),
        links: segment.links(),
      };
    });
  }

  processes(): ProcessesReport {
    return [...this.#containers.values()].map(({ spec, segment }) => ({
      container: spec.name,
      processes: segment.processes(),
    }));
  }

  /** Ends the containers on this node and removes their segments. */
  end(): void {
    this.#cancelSweep();
    for (const { monitor, segment, path } of this.#containers.values()) {
      monitor.stop();
      segment.endContainer();
      segment.close();
      rmSync(path, { force: true });
    }
    this.#containers.clear();
  }
}

interface MakeSegment {
  readonly spec: DvsSpec;
  readonly container: ContainerSpec;
  readonly node: number;
  readonly path: string;
}

function makeSegment({ spec, container, node, path }: MakeSegment): Segment {
  Segment.create(path, {
    dcId: dcId(container.id),
    nodeId: nodeId(node),
    dcName: container.name,
    dvsName: spec.dvs,
    processes: container.processes,
    // Dynamic slots are shared out among node slots, so there are no more of these than needed.
    nodes: Math.max(...container.nodes) + 1,
    arenaBytes: container.arenaBytes,
    // Nobody that knew an endpoint of this node's last life reaches a process of the new one.
    firstGeneration: randomInt(Limit.GENERATION_MAX + 1),
  });
  const segment = Segment.open(path);
  for (const member of spec.nodes) {
    if (member.id === node || !container.nodes.includes(member.id)) continue;
    segment.addNode(nodeId(member.id), member.name);
  }
  return segment;
}

// What a daemon that was killed left behind. Whoever still waits in it is told that the container
// has ended.
function removeSegment(path: string): void {
  try {
    const segment = Segment.open(path);
    segment.endContainer();
    segment.close();
  } catch (error) {
    if (!isDvkError(error)) throw error;
  }
  rmSync(path, { force: true });
}
