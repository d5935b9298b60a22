/** A cable between two network namespaces, for the tests of a file or of a block. */
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { NamespacePair, whyNoNamespaces } from './network-namespaces.ts';
import type { ProxyNodeOptions } from './proxy-node.ts';

const skipped = whyNoNamespaces();

/**
 * Lays one before the tests that follow, and returns what gives it. After each of them it carries
 * everything again; where there can be none, each is skipped and told why.
 */
export function useCable(): () => NamespacePair {
  let network: NamespacePair | undefined;
  beforeAll(() => {
    if (skipped === undefined) network = new NamespacePair();
  });
  beforeEach((ctx) => {
    if (skipped !== undefined) ctx.skip(skipped);
  });
  afterEach(() => {
    network?.lose(0);
    network?.plug('up');
  });
  afterAll(() => {
    network?.remove();
  });
  return () => {
    if (network === undefined) throw new Error('the cable is laid before the first test');
    return network;
  };
}

/** Options of the node at one end of it. */
export function atEnd(network: NamespacePair, node: number, transport: string): ProxyNodeOptions {
  const end = node as 0 | 1;
  const place = { namespace: network.names[end], transports: [transport] };
  return transport === 'ethernet'
    ? { ...place, ethernet: { interface: 'v0' } }
    : { ...place, host: network.addresses[end] };
}
