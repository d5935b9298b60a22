/**
 * Who a node is, as its certificate says it: a URI `dvk://DVS/node/ID/NAME`.
 *
 * No I/O and no cryptography; that a certificate may be believed is for credentials.ts.
 */

/** Whom a certificate speaks for. */
export interface NodeIdentity {
  readonly dvs: string;
  readonly node: number;
  readonly name: string;
}

/** A certificate that was accepted. */
export interface PeerCertificate extends NodeIdentity {
  /** Serial number: hexadecimal, upper case. */
  readonly serial: string;
  /** End of its validity, in ms of the wall clock. */
  readonly notAfterMs: number;
}

const NODE_MAX = 1023;
const URI_PATTERN =
  /^dvk:\/\/([A-Za-z0-9][\w-]{0,14})\/node\/(0|[1-9]\d{0,3})\/([A-Za-z0-9][\w-]{0,14})$/;

/** The URI that names a node in its certificate. */
export function identityUri({ dvs, node, name }: NodeIdentity): string {
  return `dvk://${dvs}/node/${node}/${name}`;
}

/** Reads such a URI; undefined when it names no node. */
export function parseIdentity(uri: string): NodeIdentity | undefined {
  const [, dvs, id, name] = URI_PATTERN.exec(uri) ?? [];
  if (dvs === undefined || name === undefined || Number(id) > NODE_MAX) return undefined;
  return { dvs, node: Number(id), name };
}

/** Why `peer` may not speak for the node that is expected; undefined when it may. */
export function impersonation(
  peer: NodeIdentity,
  expected: { node: number; name: string | undefined },
): string | undefined {
  const shown = `its certificate is for node ${peer.node} (${peer.name})`;
  if (peer.node !== expected.node) return `it speaks for node ${expected.node}, but ${shown}`;
  if (expected.name === undefined || peer.name === expected.name) return undefined;
  return `${shown}, and node ${peer.node} is called ${expected.name} here`;
}
