/**
 * One node of a DC whose other nodes there are not: a test writes their commands by hand, and reads
 * what this node has for them.
 */
import { CommandLayout, Limit } from '../../src/dvk/abi/abi.gen.ts';
import { nodeId, type Segment } from '../../src/dvk/index.ts';
import { DcMember } from './dc-members.ts';
import { command, describeCommand, type CommandFields } from './proxy-frames.ts';
import { TestSegment } from './segments.ts';

const PATIENCE_MS = 5000;
const NODES = 3;
const DC = 5;
const HERE = 0;

/** What a hand-made command holds beside its fields. */
export interface Body {
  /** Of the message. */
  type?: number;
  /** They begin the payload of the message. */
  numbers?: readonly number[];
  data?: Uint8Array;
}

export interface Found {
  fields: Record<string, number>;
  type: number;
  numbers: [number, number, number];
  data: Uint8Array;
}

export class PseudoNode {
  readonly #test = new TestSegment({ nodeId: nodeId(HERE), dcId: DC as never });
  readonly #members: DcMember[] = [];
  readonly #command = new Uint8Array(CommandLayout.BYTES);
  readonly #data = new Uint8Array(Limit.COPY_CHUNK_BYTES);

  constructor() {
    for (let node = 1; node < NODES; node++) {
      this.segment.addNode(nodeId(node), `n${String(node)}`);
      this.segment.attachProxy(nodeId(node), () => undefined);
      this.segment.linkUp(nodeId(node), 1);
    }
  }

  get segment(): Segment {
    return this.#test.segment;
  }

  /** A process of its own on this node. */
  async member(server?: { slot: number }): Promise<DcMember> {
    const member = await DcMember.start(this.#test.path, server);
    this.#members.push(member);
    return member;
  }

  /** Puts a command of `node` to this one. Returns what the core said to the proxy. */
  put(node: number, fields: CommandFields, body: Body = {}): number {
    const { type = 0, numbers = [], data = new Uint8Array(0) } = body;
    const bytes = command({
      dcId: DC,
      sourceNode: node,
      destinationNode: HERE,
      payloadBytes: data.length,
      ...fields,
    });
    const message = new Int32Array(bytes.buffer, CommandLayout.message, 16);
    message.set([fields.source ?? 0, type, ...numbers]);
    return this.segment.put2lclRaw(nodeId(node), bytes, data);
  }

  /** What this node has for `node` now, but for announcements. */
  peek(node: number): Found | undefined {
    while (this.segment.get2rmt(nodeId(node), this.#command, this.#data)) {
      const fields = describeCommand(this.#command);
      if (fields['kind'] === 13 || fields['kind'] === 14) continue;
      const message = new Int32Array(this.#command.buffer, CommandLayout.message, 16);
      const [, type = 0, a = 0, b = 0, c = 0] = message;
      const data = this.#data.slice(0, fields['payloadBytes']);
      return { fields, type, numbers: [a, b, c], data };
    }
    return undefined;
  }

  /** Waits for the next one: a member of another process may have called just now. */
  async take(node: number): Promise<Found> {
    for (const endMs = performance.now() + PATIENCE_MS; performance.now() < endMs;) {
      const found = this.peek(node);
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error(`no command for node ${String(node)}`);
  }

  async remove(): Promise<void> {
    for (const member of this.#members.splice(0)) await member.kill();
    this.#test.remove();
  }
}
