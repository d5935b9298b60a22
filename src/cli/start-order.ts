/** The order in which services start; they stop in the opposite one. */
import type { DvsSpec, ServiceSpec } from '../vos/spec.ts';

// What has a lower rank needs nothing of a higher one.
const RANKS: Readonly<Record<ServiceSpec['kind'], number>> = { fs: 0, fuse: 1 };

/** Services in groups: each group needs only those before it. */
export function inRanks(services: readonly ServiceSpec[]): ServiceSpec[][] {
  const ranks: ServiceSpec[][] = [];
  for (const service of services) (ranks[RANKS[service.kind]] ??= []).push(service);
  return ranks.filter((rank) => rank.length > 0);
}

/** All services of a DVS, as the spec lists them. */
export function servicesOf(spec: DvsSpec): ServiceSpec[] {
  return spec.containers.flatMap(({ services }) => services);
}
