/** The probers of a node, one for each of its containers, and the way of probes to links. */
import { randomBytes } from 'node:crypto';
import type { NodeId } from '../dvk/endpoint.ts';
import { decodeProbe, encodeProbe, encodeWithdrawal } from './probe.ts';
import { Prober, type WaitTable } from './prober.ts';

/** What they need of a segment. */
export type ProbedSegment = WaitTable & { readonly dcId: number };

export interface ProbersOptions {
  node: NodeId;
  nowMs: () => number;
  /** Sends a command of a container to a node; nothing happens when that cannot be done now. */
  send: (to: NodeId, dcId: number, command: Uint8Array) => void;
}

export class Probers {
  readonly #options: ProbersOptions;
  readonly #probers = new Map<ProbedSegment, Prober>();

  constructor(options: ProbersOptions) {
    this.#options = options;
  }

  /** The segments of this node now. */
  setSegments(segments: readonly ProbedSegment[]): void {
    for (const segment of this.#probers.keys()) {
      if (!segments.includes(segment)) this.#probers.delete(segment);
    }
    for (const segment of segments) {
      if (!this.#probers.has(segment)) this.#probers.set(segment, this.#newProber(segment));
    }
  }

  tick(): void {
    for (const prober of this.#probers.values()) prober.tick(this.#options.nowMs());
  }

  /** A PROBE came from `from`. False when it is malformed. */
  receive(segment: ProbedSegment, from: NodeId, command: Uint8Array): boolean {
    const probe = decodeProbe(command);
    if (probe === undefined) return false;
    this.#probers.get(segment)?.receive(from, probe, this.#options.nowMs());
    return true;
  }

  #newProber(segment: ProbedSegment): Prober {
    const { node } = this.#options;
    const { dcId } = segment;
    return new Prober({
      node,
      waits: segment,
      send: (to, probe) => {
        this.#options.send(to, dcId, encodeProbe(probe, { dcId, from: node, to }));
      },
      withdraw: (wait) => {
        const route = { dcId, from: node, to: wait.node };
        this.#options.send(wait.node, dcId, encodeWithdrawal(wait, route));
      },
      newNonce: () => randomBytes(8).readBigUInt64LE(),
    });
  }
}
