/** The services of one node: each a child of the daemon, started and stopped by name. */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { COUNTERS, type ServiceConfig } from '../dvk/boot.ts';
import type { ContainerSpec, DvsSpec, ServiceSpec } from '../vos/spec.ts';
import { Child } from './child.ts';
import { FUSE_TYPE, isStale, mountOn, unmount } from './mounts.ts';
import { logEvent } from './output.ts';
import type { ProcessId } from './process-table.ts';
import type { CountersReport, ServiceReport } from './report.ts';
import type { NodePaths } from './runtime.ts';
import { prepareRam } from './ram-volume.ts';
import { inRanks } from './start-order.ts';

const COUNTERS_WAIT_MS = 2000;
const SCRIPTS: Readonly<Record<ServiceSpec['kind'], string>> = {
  fs: fileURLToPath(new URL('../servers/fs/main.js', import.meta.url)),
  fuse: fileURLToPath(new URL('../vos/fuse/main.js', import.meta.url)),
};

interface Service {
  readonly spec: ServiceSpec;
  readonly container: ContainerSpec;
  readonly child: Child;
  info: Readonly<Record<string, unknown>>;
}

export interface NodeServicesOptions {
  readonly spec: DvsSpec;
  readonly node: number;
  readonly paths: NodePaths;
  readonly environment: Readonly<Record<string, string>>;
  readonly onChange: () => void;
}

export class NodeServices {
  readonly #options: NodeServicesOptions;
  readonly #services = new Map<string, Service>();

  constructor(options: NodeServicesOptions) {
    this.#options = options;
    for (const container of options.spec.containers) {
      for (const spec of container.services) {
        if (spec.node === options.node) this.add(container.name, spec);
      }
    }
  }

  /** A service more, which is down. */
  add(container: string, spec: ServiceSpec): void {
    const found = this.#options.spec.containers.find(({ name }) => name === container);
    if (found === undefined) throw new Error(`there is no container ${container}`);
    if (this.#services.has(spec.name)) throw new Error(`there is a service ${spec.name} already`);
    const child = makeChild(this.#options, found, spec);
    this.#services.set(spec.name, { spec, container: found, child, info: {} });
  }

  /** Forgets a service that is down. */
  remove(name: string): void {
    if (this.#find(name).child.id !== undefined) throw new Error(`service ${name} runs`);
    this.#services.delete(name);
  }

  /** The processes of the services that run. */
  ids(): ProcessId[] {
    return [...this.#services.values()].flatMap(({ child }) => child.id ?? []);
  }

  #find(name: string): Service {
    const service = this.#services.get(name);
    if (service === undefined) throw new Error(`this node has no service ${name}`);
    return service;
  }

  /** Starts a service; resolves when it answers. Does nothing when it is up. */
  async start(name: string): Promise<ServiceReport> {
    const service = this.#find(name);
    if (service.child.state !== 'up') {
      try {
        await this.#prepare(service.spec);
        const ready = await service.child.start();
        service.info = (ready['info'] ?? {}) as Service['info'];
        logEvent('service.started', { name });
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new Error(`service ${name} did not start: ${why}`, { cause: error });
      }
    }
    return report(service);
  }

  async #prepare(spec: ServiceSpec): Promise<void> {
    if (spec.kind === 'fuse') await prepareMount(spec.mount);
    else if (spec.ramBytes !== undefined) {
      await prepareRam(this.#options.paths.ramVolume(spec.name), spec.ramBytes);
    }
  }

  async stop(name: string): Promise<void> {
    const { spec, child } = this.#find(name);
    await child.stop();
    // A gateway unmounts at its end; one that had to be killed could not.
    if (spec.kind === 'fuse' && mountOn(spec.mount)?.type === FUSE_TYPE) await unmount(spec.mount);
    logEvent('service.stopped', { name });
  }

  /** Stops every service, those that need others first. */
  async stopAll(): Promise<void> {
    const services = [...this.#services.values()].map(({ spec }) => spec);
    for (const rank of inRanks(services).reverse()) {
      await Promise.all(rank.map(async ({ name }) => this.stop(name)));
    }
  }

  /** What a service has counted; null when it is down, or does not answer. */
  async counters(name: string): Promise<CountersReport> {
    const { child } = this.#find(name);
    if (child.state !== 'up') return null;
    const told = await child.ask(COUNTERS, COUNTERS_WAIT_MS);
    return (told?.['counters'] ?? null) as CountersReport;
  }

  report(): ServiceReport[] {
    return [...this.#services.values()].map(report);
  }
}

function report({ spec, container, child, info }: Service): ServiceReport {
  return { ...child.report(), container: container.name, spec, info };
}

/** What its process is told: a volume in memory is a file of the node's. */
function servedSpec(spec: ServiceSpec, paths: NodePaths): ServiceSpec {
  if (spec.kind !== 'fs' || spec.ramBytes === undefined) return spec;
  return { ...spec, image: paths.ramVolume(spec.name) };
}

function makeChild(options: NodeServicesOptions, dc: ContainerSpec, spec: ServiceSpec): Child {
  const config: ServiceConfig<ServiceSpec> = {
    dvs: options.spec.dvs,
    dc: dc.name,
    dcId: dc.id,
    node: options.node,
    segment: options.paths.segment(dc.name),
    service: servedSpec(spec, options.paths),
  };
  return new Child({
    name: spec.name,
    script: SCRIPTS[spec.kind],
    log: options.paths.log(spec.name),
    environment: { ...options.environment, DVK_SERVICE: JSON.stringify(config) },
    onChange: options.onChange,
  });
}

/**
 * Makes a mount point usable: takes away the mount of a gateway that died, and makes the directory.
 */
export async function prepareMount(path: string): Promise<void> {
  const present = mountOn(path);
  if (present?.type === FUSE_TYPE && (await isStale(path))) {
    const trouble = await unmount(path);
    if (trouble !== undefined) throw new Error(`the dead mount on ${path} stays: ${trouble}`);
  } else if (present !== undefined) {
    throw new Error(`${path} is in use: ${present.source} (${present.type}) is mounted there`);
  }
  mkdirSync(path, { recursive: true });
}
