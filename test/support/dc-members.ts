/** Starts members of a DC (dc-member.ts) and gives them orders. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Endpoint } from '../../src/dvk/index.ts';
import type { MemberCall, MemberMessage, MemberOrder } from './dc-member.ts';

const PROGRAM = join(import.meta.dirname, '../../dist/test/support/dc-member.js');

interface Answer {
  id: number;
  value?: unknown;
  error?: string;
}

/** A DvkError that a member told of; its message is the error's code. */
export class MemberError extends Error {}

export class DcMember {
  readonly endpoint: Endpoint;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #orders = 0;

  private constructor(child: ChildProcess, endpoint: Endpoint) {
    this.#child = child;
    this.endpoint = endpoint;
    this.pid = child.pid ?? 0;
    child.on('message', (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  /** Starts a member of the segment's DC; a server gets the slot named. */
  static async start(path: string, server?: { slot: number }): Promise<DcMember> {
    return DcMember.#fork(path, server ? [String(server.slot), 'server'] : []);
  }

  /** Starts a member that waits until `bindIt` has bound it. */
  static async startBound(path: string, bindIt: (pid: number) => void): Promise<DcMember> {
    return DcMember.#fork(path, ['adopt'], bindIt);
  }

  static async #fork(
    path: string,
    role: readonly string[],
    started: (pid: number) => void = () => undefined,
  ): Promise<DcMember> {
    const child = fork(PROGRAM, [path, ...role], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    started(child.pid ?? 0);
    const [first] = (await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => [{}]),
    ])) as [{ endpoint?: Endpoint }];
    if (first.endpoint === undefined) throw new Error('the member did not start');
    return new DcMember(child, first.endpoint);
  }

  /** Gives an order and waits for its outcome; rejects with a MemberError. */
  async order<Value = number>(order: MemberOrder): Promise<Value> {
    const id = ++this.#orders;
    const answer = await new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ id, ...order });
    });
    if (answer.error !== undefined) throw new MemberError(answer.error);
    return answer.value as Value;
  }

  /** One call of M3-IPC; the message in its window after it. */
  ipc(call: MemberCall): Promise<MemberMessage> {
    return this.order<MemberMessage>({ do: 'ipc', ...call });
  }

  /** How a call ended: the error's code, or 'none'. */
  codeOf(call: MemberCall): Promise<string> {
    return this.#codeOf({ do: 'ipc', ...call });
  }

  /** The same of a call that does not block the member. */
  codeOfAwaited(call: 'send' | 'receive' | 'sendrec' | 'rcvrqst', peer: Endpoint): Promise<string> {
    return this.#codeOf({ do: 'await', call, peer });
  }

  #codeOf(order: MemberOrder): Promise<string> {
    return this.order<unknown>(order).then(
      () => 'none',
      (error: unknown) => (error as MemberError).message,
    );
  }

  /** Lets it exit in the orderly way, without unbinding first. */
  async exit(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.send({ id: 0, do: 'ipc', call: 'exit' });
    await exited;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }
}
