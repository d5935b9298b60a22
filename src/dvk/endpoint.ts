/**
 * Addresses: endpoints, node ids and DC ids, as branded numbers so that one cannot be passed for
 * another.
 *
 * An endpoint is a slot in the low 16 bits and a generation in the 15 above, as in MINIX's
 * endpoint.h: the next owner of a slot has another generation, so an endpoint kept too long reaches
 * nobody. Generation 0 makes endpoint and slot equal, so fixed servers have readable addresses.
 */
import { Limit, SpecialEndpoint } from './abi/abi.gen.ts';

/**
 * Address of a process in a DC: slot and generation, or one of ANY, NONE, SELF, KERNEL. 32 bits,
 * signed.
 */
export type Endpoint = number & { readonly brand: 'Endpoint' };
/** Number of a node in its DC, 0 to nodes - 1. */
export type NodeId = number & { readonly brand: 'NodeId' };
/** Number of a DC in its DVS, 0 and up. */
export type DcId = number & { readonly brand: 'DcId' };
/**
 * Permission on a range of the granter's memory; valid at the process that granted, until revoked.
 */
export type GrantId = number & { readonly brand: 'GrantId' };

/** Any source, in receive; any grantee, in grant. */
export const ANY: Endpoint = SpecialEndpoint.ANY as number as Endpoint;
/** Nobody. */
export const NONE: Endpoint = SpecialEndpoint.NONE as number as Endpoint;
/** The caller itself. */
export const SELF: Endpoint = SpecialEndpoint.SELF as number as Endpoint;
/** Source of messages that the kernel makes. */
export const KERNEL: Endpoint = SpecialEndpoint.KERNEL as number as Endpoint;

const SLOT_BITS = 16;
const SLOT_MASK = 0xffff;
const GENERATION_MASK = 0x7fff;
const SPECIAL_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(SpecialEndpoint).map(([name, value]) => [value, name]),
);

function checked(what: string, value: number, limit: number): number {
  if (!Number.isInteger(value) || value < 0 || value > limit) {
    throw new RangeError(`${what} must be an integer from 0 to ${String(limit)}`);
  }
  return value;
}

/** The endpoint of `generation` (0 to GENERATION_MAX) in `slot` (0 to 65535). Throws RangeError. */
export function makeEndpoint(slot: number, generation = 0): Endpoint {
  checked('slot', slot, SLOT_MASK);
  checked('generation', generation, Limit.GENERATION_MAX);
  return ((generation << SLOT_BITS) | slot) as Endpoint;
}

/** The slot of an endpoint, 0 to 65535. Means nothing for a special endpoint. */
export function slotOf(endpoint: Endpoint): number {
  return endpoint & SLOT_MASK;
}

/** The generation of an endpoint, 0 to 32766. Means nothing for a special endpoint. */
export function generationOf(endpoint: Endpoint): number {
  return (endpoint >>> SLOT_BITS) & GENERATION_MASK;
}

/** Whether `endpoint` is one of ANY, NONE, SELF and KERNEL, so no process. */
export function isSpecial(endpoint: Endpoint): boolean {
  return SPECIAL_NAMES.has(endpoint);
}

/** `slot.generation`, as `70.3`, or the name of a special endpoint. */
export function formatEndpoint(endpoint: Endpoint): string {
  const special = SPECIAL_NAMES.get(endpoint);
  if (special !== undefined) return special;
  return `${String(slotOf(endpoint))}.${String(generationOf(endpoint))}`;
}

/** A node's number, 0 to NODES_MAX - 1. Throws RangeError. */
export function nodeId(value: number): NodeId {
  return checked('node id', value, Limit.NODES_MAX - 1) as NodeId;
}

/** A DC's number, 0 to 2^31 - 1. Throws RangeError. */
export function dcId(value: number): DcId {
  return checked('DC id', value, 0x7fff_ffff) as DcId;
}
