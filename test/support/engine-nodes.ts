/** Nodes of one DC in one process, with real segments and proxy engines, joined by a transport. */
import { crc32c } from '../../src/dvk/crc32c.ts';
import { systemClock } from '../../src/dvk/clock.ts';
import { dcId, nodeId, type Process, type Segment } from '../../src/dvk/index.ts';
import { Engine, type EngineStatistics } from '../../src/proxies/engine.ts';
import type { Transport } from '../../src/proxies/transport.ts';
import { DcMember } from './dc-members.ts';
import { TestSegment } from './segments.ts';

const DC = 5;
// Short, so that the engines look at waits often.
const TIMES = { keepaliveMs: 40, deadMs: 20_000, handshakeMs: 20_000 };

async function until(met: () => boolean): Promise<void> {
  while (!met()) await new Promise((resolve) => setTimeout(resolve, 1));
}

export class EngineNodes {
  readonly #segments: TestSegment[] = [];
  readonly #engines: Engine[] = [];
  readonly #members: DcMember[] = [];

  private constructor() {
    // Made by `start`.
  }

  /** Starts `count` nodes, and links any two. */
  static async start(count: number, transportOf: () => Transport): Promise<EngineNodes> {
    const nodes = new EngineNodes();
    const numbers = Array.from({ length: count }, (_, node) => node);
    const ports: number[] = [];
    for (const node of numbers) {
      const test = new TestSegment({ nodeId: nodeId(node), dcId: dcId(DC) });
      for (const other of numbers) {
        if (other !== node) test.segment.addNode(nodeId(other), `n${other}`);
      }
      const engine = new Engine({
        dvs: 'lab',
        node: nodeId(node),
        incarnation: BigInt(node) + 1n,
        transport: transportOf(),
        clock: systemClock,
        checksum: crc32c,
        times: TIMES,
      });
      engine.setSegments([test.segment]);
      nodes.#segments.push(test);
      nodes.#engines.push(engine);
      ports.push(await engine.start({ host: '127.0.0.1', port: 0 }));
    }
    for (const engine of nodes.#engines) {
      engine.setPeers(
        numbers.map((node) => ({
          node: nodeId(node),
          name: `n${node}`,
          host: '127.0.0.1',
          port: ports[node] ?? 0,
        })),
      );
    }
    await until(() =>
      nodes.#engines.every((engine) =>
        engine.statistics().peers.every((peer) => peer.containers.length > 0),
      ),
    );
    return nodes;
  }

  segment(node: number): Segment {
    const test = this.#segments[node];
    if (test === undefined) throw new Error(`no node ${node}`);
    return test.segment;
  }

  /** A server of `node`, known to the other nodes. */
  async server(node: number, slot: number): Promise<Process> {
    const bound = this.segment(node).bind({ name: `s${slot}`, level: 'server', slot });
    await this.#known(bound.endpoint);
    return bound;
  }

  /** The same as a process of its own, whose calls block. */
  async member(node: number, slot: number): Promise<DcMember> {
    const member = await DcMember.start(this.#segments[node]?.path ?? '', { slot });
    this.#members.push(member);
    await this.#known(member.endpoint);
    return member;
  }

  statistics(node: number): EngineStatistics {
    const engine = this.#engines[node];
    if (engine === undefined) throw new Error(`no node ${node}`);
    return engine.statistics();
  }

  /** Ends the proxy of `node`; resolves when the others know. */
  async stop(node: number): Promise<void> {
    await this.#engines[node]?.stop();
    const others = this.#segments.filter((_, other) => other !== node);
    await until(() => others.every(({ segment }) => segment.link(nodeId(node))?.state === 'down'));
  }

  /** Frames that have come to `node`. */
  framesReceived(node: number): number {
    const { peers } = this.#engines[node]?.statistics() ?? { peers: [] };
    return peers.reduce((sum, peer) => sum + peer.framesReceived, 0);
  }

  /** Waits until so many more frames have come to `node`. */
  async frames(node: number, count: number): Promise<void> {
    const before = this.framesReceived(node);
    await until(() => this.framesReceived(node) >= before + count);
  }

  async remove(): Promise<void> {
    for (const member of this.#members) await member.kill();
    await Promise.all(this.#engines.map(async (engine) => engine.stop()));
    for (const test of this.#segments) test.remove();
  }

  async #known(endpoint: Process['endpoint']): Promise<void> {
    await until(() => this.#segments.every(({ segment }) => segment.isBound(endpoint)));
  }
}
