/**
 * Nodes of one DC in one process, whose commands a test carries by hand: it is every proxy at once.
 */
import { CommandLayout } from '../../src/dvk/abi/abi.gen.ts';
import { nodeId, type Process, type Segment } from '../../src/dvk/index.ts';
import { DcMember } from './dc-members.ts';
import { describeCommand } from './proxy-frames.ts';
import { TestSegment } from './segments.ts';

const CHUNK = 1024 * 1024;
const PATIENCE_MS = 5000;

export interface Carried {
  command: Uint8Array;
  payload: Uint8Array;
  /** What the receiving node's core said. */
  result: number;
}

export class HandProxies {
  readonly nodes: TestSegment[];
  readonly #members: DcMember[] = [];
  readonly #payload = new Uint8Array(CHUNK);

  /** `count` nodes of DC 5, all linked. */
  constructor(count: number) {
    this.nodes = Array.from({ length: count }, (_, node) => {
      const made = new TestSegment({ nodeId: nodeId(node), dcId: 5 as never });
      for (let other = 0; other < count; other++) {
        if (other === node) continue;
        made.segment.addNode(nodeId(other), `n${other}`);
        made.segment.attachProxy(nodeId(other), () => undefined);
      }
      return made;
    });
    this.#eachPair((from, to) => this.segment(from).linkUp(nodeId(to), 1));
  }

  segment(node: number): Segment {
    return this.nodes[node]!.segment;
  }

  path(node: number): string {
    return this.nodes[node]!.path;
  }

  /** A server of node `node`, known to the other nodes. */
  server(slot = 10, node = 1): Process {
    const bound = this.segment(node).bind({ name: `server${slot}`, level: 'server', slot });
    this.settle();
    return bound;
  }

  client(node = 0): Process {
    return this.segment(node).bind({ name: 'client' });
  }

  /** A process of its own, for calls that block. */
  async member(node: number, server?: { slot: number }): Promise<DcMember> {
    const member = await DcMember.start(this.path(node), server);
    this.#members.push(member);
    this.settle();
    return member;
  }

  async remove(): Promise<void> {
    for (const member of this.#members.splice(0)) await member.kill();
    for (const node of this.nodes) node.remove();
  }

  /** The next command of node `from` for node `to`, when there is one now. */
  peek(from: number, to: number): { command: Uint8Array; payload: Uint8Array } | undefined {
    const command = new Uint8Array(CommandLayout.BYTES);
    if (!this.segment(from).get2rmt(nodeId(to), command, this.#payload)) return undefined;
    const { payloadBytes = 0 } = describeCommand(command);
    return { command, payload: this.#payload.slice(0, payloadBytes) };
  }

  /** Waits for the next command of node `from` for node `to`. */
  async take(from: number, to: number): Promise<{ command: Uint8Array; payload: Uint8Array }> {
    for (const endMs = performance.now() + PATIENCE_MS; performance.now() < endMs;) {
      const taken = this.peek(from, to);
      if (taken) return taken;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error(`no command of node ${from} for node ${to}`);
  }

  put(
    from: number,
    to: number,
    command: Uint8Array,
    payload: Uint8Array = new Uint8Array(0),
  ): number {
    return this.segment(to).put2lclRaw(nodeId(from), command, payload);
  }

  /** Carries the next command of node `from` to node `to`. */
  async carry(from: number, to: number): Promise<Carried> {
    const taken = await this.take(from, to);
    return { ...taken, result: this.put(from, to, taken.command, taken.payload) };
  }

  /** Carries everything that waits, of all nodes, until all is quiet; returns what it was. */
  settle(): Carried[] {
    const all: Carried[] = [];
    for (let before = -1; before !== all.length;) {
      before = all.length;
      this.#eachPair((from, to) => {
        for (let taken = this.peek(from, to); taken; taken = this.peek(from, to)) {
          all.push({ ...taken, result: this.put(from, to, taken.command, taken.payload) });
        }
      });
    }
    return all;
  }

  #eachPair(visit: (from: number, to: number) => void): void {
    for (let from = 0; from < this.nodes.length; from++) {
      for (let to = 0; to < this.nodes.length; to++) if (to !== from) visit(from, to);
    }
  }
}
