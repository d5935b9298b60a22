/** What a spec says of the link between two nodes. */
import type { Address, DvsSpec, PathSpec } from './spec.ts';

/** The paths between two nodes, at least one; each is preferred to those behind it. */
export function pathsBetween(spec: DvsSpec, one: number, other: number): readonly PathSpec[] {
  const link = spec.links.find(({ nodes }) => nodes.includes(one) && nodes.includes(other));
  return link?.paths ?? [{ name: spec.transport, transport: spec.transport }];
}

/** Where a node's proxy listens too: the addresses that single paths have at it. */
export function extraAddressesOf(spec: DvsSpec, node: number): Address[] {
  const own = spec.links.filter(({ nodes }) => nodes[1] === node);
  return own.flatMap(({ paths }) => paths.flatMap(({ listen }) => listen ?? []));
}
