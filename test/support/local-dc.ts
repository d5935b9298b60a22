/** A DC of one node, whose members are processes of their own: what they call may block. */
import type { Endpoint, Process, Segment, StateName } from '../../src/dvk/index.ts';
import { DcMember } from './dc-members.ts';
import { TestSegment } from './segments.ts';

const PATIENCE_MS = 10_000;

export class LocalDc {
  readonly #test = new TestSegment();
  readonly #members: DcMember[] = [];

  get segment(): Segment {
    return this.#test.segment;
  }

  get path(): string {
    return this.#test.path;
  }

  /** A member in a fixed slot, or a user in any. */
  async member(server?: { slot: number }): Promise<DcMember> {
    const member = await DcMember.start(this.#test.path, server);
    this.#members.push(member);
    return member;
  }

  /** A member that waits until `bindIt` has bound it. */
  async boundMember(bindIt: (pid: number) => void): Promise<DcMember> {
    const member = await DcMember.startBound(this.path, bindIt);
    this.#members.push(member);
    return member;
  }

  /** A server of this very process. */
  server(slot: number): Process {
    return this.segment.bind({ name: `server${String(slot)}`, level: 'server', slot });
  }

  /** Waits until the process is in that state; its call is under way then. */
  async reaches(endpoint: Endpoint, state: StateName): Promise<void> {
    const find = (): StateName | undefined =>
      this.segment.processes().find((process) => process.endpoint === endpoint)?.state;
    for (const endMs = performance.now() + PATIENCE_MS; find() !== state;) {
      if (performance.now() > endMs) throw new Error(`it is ${String(find())}, not ${state}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async remove(): Promise<void> {
    for (const member of this.#members.splice(0)) await member.kill();
    this.#test.remove();
  }
}
