/**
 * The core beside its model: each step is done on both, and what differs throws.
 *
 * Awaited calls of several processes run in one event loop. Between steps only microtasks run, so a
 * call that was answered is collected when the program says `turn`, and not before.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { deepStrictEqual } from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import {
  ANY,
  errorName,
  isDvkError,
  makeEndpoint,
  Process,
  ProcessLevel,
  slotOf,
} from '../../src/dvk/index.ts';
import { Limit } from '../../src/dvk/abi/abi.gen.ts';
import type { AsyncId, AsyncOptions, Endpoint, Filter, FilterRule } from '../../src/dvk/index.ts';
import { native } from '../../src/dvk/native.ts';
import { Waker } from '../../src/dvk/waker.ts';
import { IpcModel, typeOf, type AsyncMessage, type Outcome } from './ipc-model.ts';
import { ManualClock } from './manual-clock.ts';
import { TestSegment } from './segments.ts';

export const PARTIES = 4;
const FIRST_SLOT = 1;
const TIMEOUT_MS = 1000;
const TURNS_MAX = 1000;
const TURN_MS = 1;
const TURN_MS_MAX = 600_000;
/** Word of a message that has its number. */
const ID_INDEX = 2;

/** One step of a program; parties are numbers from 0 to PARTIES - 1. */
export type Step =
  | { do: 'bind'; who: number; server: boolean; mortal: boolean }
  | { do: 'unbind' | 'kill' | 'wakeup'; who: number }
  | { do: 'send' | 'sendrec'; who: number; to: number; now: boolean }
  | { do: 'notify'; who: number; to: number }
  // Without a client: the one whose request came first of those not answered.
  | { do: 'reply'; who: number; to: number | undefined }
  | { do: 'relay'; who: number; client: number | undefined; to: number }
  | { do: 'receive'; who: number; from: number | undefined; now: boolean }
  | { do: 'rcvrqst'; who: number; now: boolean }
  | ({ do: 'senda'; who: number; to: number } & Posting)
  // Of all that the party has sent; 0 is the last one.
  | { do: 'sendaStatus' | 'sendaCancel'; who: number; which: number }
  | { do: 'filter'; who: number; allow: boolean | undefined; rules: readonly Rule[] }
  | { do: 'cancel'; who: number; late: boolean }
  | { do: 'turn' | 'end' };

/** How a message of `senda` is sent. */
type Posting = { tells: 'always' | 'failed' | 'never'; forget: false } | Forgotten;
interface Forgotten {
  tells: 'never';
  forget: true;
}

/** A rule of a filter: a party, a type (`notify`: of notifications), or both. */
export type Rule =
  { source: number; type?: number | 'notify' } | { source?: number; type: number | 'notify' };

interface Member {
  process: Process;
  clock: ManualClock;
  child: ChildProcess | undefined;
  stop: AbortController;
  /** All messages of `senda` that it has sent. */
  asyncs: { id: AsyncId; message: AsyncMessage }[];
}

const microtasks = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

export class IpcWorld {
  readonly #test = new TestSegment({ arenaBytes: 4096 });
  readonly #model = new IpcModel(PARTIES);
  readonly #handle = native().segmentOpen(this.#test.path);
  readonly #members: (Member | undefined)[] = Array.from({ length: PARTIES });
  readonly #endpoints: Endpoint[] = Array.from({ length: PARTIES }, (_, i) =>
    makeEndpoint(FIRST_SLOT + i, 0),
  );
  readonly #children: ChildProcess[] = [];
  /** How often a step had a result, as `relay ok`, or an awaited call one, as `ended EINTR`. */
  readonly results = new Map<string, number>();
  /** Awaited calls that ended since the last look. */
  #settled = new Map<number, Outcome>();
  #waker: Waker | undefined;
  #messages = 0;

  constructor() {
    // Calls that are complete are settled at once, however long the program goes on.
    native().turnLimit(TURN_MS_MAX);
  }

  /** Does a step on both; false when the step makes no sense now, and nothing was done. */
  async step(step: Step): Promise<boolean> {
    const expected = new Map<number, Outcome>();
    if (!(await this.#do(step, expected))) return false;
    await microtasks();
    deepStrictEqual(this.#settled, expected, 'what the calls came to');
    for (const { code, message } of expected.values()) {
      this.#count('ended', code);
      if (message !== undefined) this.#count('received', message.kind);
    }
    this.#settled = new Map();
    deepStrictEqual(this.#realStates(), this.#wantedStates(), 'states of the processes');
    return true;
  }

  async close(): Promise<void> {
    for (const member of this.#members) member?.process.unbind();
    await microtasks();
    for (const child of this.#children) child.kill('SIGKILL');
    this.#waker?.release();
    native().turnLimit(TURN_MS);
    native().segmentClose(this.#handle);
    this.#test.remove();
  }

  async #do(step: Step, expected: Map<number, Outcome>): Promise<boolean> {
    switch (step.do) {
      case 'bind':
        return this.#bind(step.who, step.server, step.mortal);
      case 'unbind':
        return this.#unbind(step.who, expected);
      case 'kill':
        return this.#kill(step.who, expected);
      case 'send':
      case 'sendrec':
        return this.#message(step, expected);
      case 'receive':
        return this.#receive(step, false, expected);
      case 'rcvrqst':
        return this.#receive({ ...step, from: undefined }, true, expected);
      case 'reply':
        return this.#reply(step.who, step.to);
      case 'relay':
        return this.#relay(step.who, step.client, step.to);
      case 'senda':
        return this.#senda(step);
      case 'sendaStatus':
      case 'sendaCancel':
        return this.#askAsync(step);
      case 'filter':
        return this.#setFilter(step.who, step.allow, step.rules);
      case 'notify':
        return this.#notify(step.who, step.to);
      case 'wakeup': {
        const code = this.#code(native().wakeup(this.#handle, this.#endpoint(step.who)));
        return this.#same('wakeup', code, this.#model.wakeup(step.who).code);
      }
      case 'cancel':
        return this.#cancel(step.who, step.late, expected);
      case 'turn':
        return this.#turn(expected);
      case 'end':
        native().segmentEnd(this.#handle);
        this.#model.end();
        return true;
    }
  }

  #bind(who: number, server: boolean, mortal: boolean): boolean {
    if (this.#members[who] !== undefined || this.#model.ended) return false;
    const child = mortal ? spawn('sleep', ['1000'], { stdio: 'ignore' }) : undefined;
    if (child !== undefined) this.#children.push(child);
    const level = server ? ProcessLevel.SERVER : ProcessLevel.USER;
    const slot = FIRST_SLOT + who;
    const numbers = Int32Array.of(slot, level, 0, 0, 0, 0);
    const handle = native().bind(this.#handle, numbers, `p${who}`, child?.pid ?? 0);
    if (handle < 0) throw new Error(`bind: ${errorName(handle)}`);
    const clock = new ManualClock();
    const host = {
      arena: new Uint8Array(0),
      waker: (): Waker => (this.#waker ??= Waker.use(this.#handle, this.#test.directory)),
      forget: (): void => undefined,
    };
    const process = new Process(handle, host, clock);
    this.#members[who] = { process, clock, child, stop: new AbortController(), asyncs: [] };
    this.#endpoints[who] = process.endpoint;
    this.#model.bind(who, server);
    return true;
  }

  #unbind(who: number, expected: Map<number, Outcome>): boolean {
    const member = this.#members[who];
    if (member === undefined) return false;
    const outcome = this.#model.cancel(who, 'ECANCELED');
    if (outcome !== undefined) expected.set(who, outcome);
    member.process.unbind();
    this.#members[who] = undefined;
    this.#model.release(who);
    return true;
  }

  /** The process dies between two of its steps, and its slot is freed as a monitor does it. */
  #kill(who: number, expected: Map<number, Outcome>): boolean {
    const member = this.#members[who];
    const pid = member?.child?.pid;
    if (member === undefined || pid === undefined) return false;
    const started = native().processStartTime(pid);
    process.kill(pid, 'SIGKILL');
    while (native().processAlive(pid, started));
    deepStrictEqual(native().reap(this.#handle, FIRST_SLOT + who, member.process.endpoint), 1);
    if (this.#model.parties[who]?.call !== undefined) {
      expected.set(who, { code: 'EDVSNOTBOUND' });
    }
    this.#model.release(who);
    member.process.unbind();
    this.#members[who] = undefined;
    return true;
  }

  #message(
    step: { do: 'send' | 'sendrec'; who: number; to: number; now: boolean },
    expected: Map<number, Outcome>,
  ): boolean {
    const member = this.#members[step.who];
    const call = step.do === 'sendrec';
    if (member === undefined) return false;
    const { process } = member;
    const destination = this.#endpoint(step.to);
    const id = this.#write(process);
    const options = this.#options(step.who, member);
    let outcome = this.#model.startMessage(step.who, step.to, call, id);
    if (step.now) {
      outcome ??= this.#model.cancel(step.who, 'EAGAIN');
      const result = call ? process.sendrecRaw(destination, 0) : process.sendRaw(destination, 0);
      deepStrictEqual(this.#outcome(member, result, call), outcome, `result of ${step.do}`);
      return true;
    }
    outcome ??= this.#model.sleep(step.who);
    const ended = call ? process.sendrec(destination, options) : process.send(destination, options);
    this.#expect(step.who, member, ended, call);
    if (outcome !== undefined) expected.set(step.who, outcome);
    return true;
  }

  #receive(
    step: { who: number; from: number | undefined; now: boolean },
    request: boolean,
    expected: Map<number, Outcome>,
  ): boolean {
    const { who, from, now } = step;
    const member = this.#members[who];
    if (member === undefined) return false;
    const { process } = member;
    const source = from === undefined ? ANY : this.#endpoint(from);
    const options = this.#options(who, member);
    let outcome = this.#model.startReceive(who, from, request);
    if (now) {
      outcome ??= this.#model.cancel(who, 'EAGAIN');
      const result = request ? process.rcvrqstRaw(0) : process.receiveRaw(source, 0);
      deepStrictEqual(this.#outcome(member, result, true), outcome, 'result of the receive');
      return true;
    }
    outcome ??= this.#model.sleep(who);
    const ended = request ? process.rcvrqst(options) : process.receive(source, options);
    this.#expect(who, member, ended, true);
    if (outcome !== undefined) expected.set(who, outcome);
    return true;
  }

  #reply(who: number, to = this.#oweTo(who)): boolean {
    const member = this.#members[who];
    if (member === undefined || to === undefined) return false;
    const id = this.#write(member.process);
    const code = this.#code(member.process.replyRaw(this.#endpoint(to)));
    return this.#same('reply', code, this.#model.reply(who, to, id).code);
  }

  #relay(who: number, client = this.#oweTo(who), to: number): boolean {
    const process = this.#members[who]?.process;
    if (process === undefined || client === undefined) return false;
    const id = this.#write(process);
    const code = this.#code(process.relayRaw(this.#endpoint(client), this.#endpoint(to)));
    return this.#same('relay', code, this.#model.relay(who, client, to, id).code);
  }

  #oweTo(who: number): number | undefined {
    return this.#model.parties[who]?.owed[0]?.client;
  }

  #senda({ who, to, tells, forget }: { who: number; to: number } & Posting): boolean {
    const member = this.#members[who];
    if (member === undefined) return false;
    const id = this.#write(member.process);
    const { message, code: wanted } = this.#model.senda(who, to, id, { tells, forget });
    const options: AsyncOptions = { forget };
    if (tells !== 'never') options.notify = tells === 'always' ? 'done' : 'failed';
    const code = codeOf(() => {
      const asyncId = member.process.senda(this.#endpoint(to), options);
      if (message !== undefined) member.asyncs.push({ id: asyncId, message });
    });
    return this.#same('senda', code, wanted);
  }

  /** Asks what became of a message of `senda`, or takes it back; also of those long forgotten. */
  #askAsync(step: { do: 'sendaStatus' | 'sendaCancel'; who: number; which: number }): boolean {
    const member = this.#members[step.who];
    const asked = member?.asyncs.at(-1 - (step.which % member.asyncs.length));
    if (member === undefined || asked === undefined) return false;
    const { process } = member;
    if (step.do === 'sendaCancel') {
      const code = codeOf(() => process.sendaCancel(asked.id));
      return this.#same(step.do, code, this.#model.sendaCancel(step.who, asked.message));
    }
    const code = codeOf(() => {
      const status = process.sendaStatus(asked.id);
      if (!status.done) return 'pending';
      if (status.error !== undefined) throw status.error;
      return 'ok';
    });
    return this.#same(step.do, code, this.#model.sendaStatus(asked.message));
  }

  #setFilter(who: number, allow: boolean | undefined, rules: readonly Rule[]): boolean {
    const process = this.#members[who]?.process;
    if (process === undefined) return false;
    // An endpoint that nobody has had yet may be somebody's later.
    const known = ({ source }: Rule): boolean =>
      source === undefined || this.#model.address(source).generation > 0;
    if (!rules.every(known)) return false;
    const real = rules.map(({ source, type }) => ({
      ...(source === undefined ? {} : { source: this.#endpoint(source) }),
      ...(type === undefined ? {} : { type: type === 'notify' ? Limit.NOTIFY_TYPE : type }),
    })) as FilterRule[];
    const ofModel = rules.map(({ source, type }) => ({
      source: source === undefined ? undefined : this.#model.address(source),
      type,
    }));
    const filter: Filter | undefined =
      allow === undefined ? undefined : allow ? { allow: real } : { deny: real };
    const wanted = this.#model.setFilter(
      who,
      allow === undefined ? undefined : { allow, rules: ofModel },
    );
    return this.#same(
      'filter',
      codeOf(() => process.setFilter(filter)),
      wanted,
    );
  }

  #notify(who: number, to: number): boolean {
    const member = this.#members[who];
    if (member === undefined) return false;
    const code = this.#code(member.process.notifyRaw(this.#endpoint(to)));
    return this.#same('notify', code, this.#model.notify(who, to).code);
  }

  /** Ends an awaited call from outside: its time is over, or its signal is aborted. */
  #cancel(who: number, late: boolean, expected: Map<number, Outcome>): boolean {
    const member = this.#members[who];
    const outcome = this.#model.cancel(who, late ? 'ETIMEDOUT' : 'ECANCELED');
    if (member === undefined || outcome === undefined) return false;
    if (late) member.clock.advance(TIMEOUT_MS);
    else member.stop.abort();
    expected.set(who, outcome);
    return true;
  }

  async #turn(expected: Map<number, Outcome>): Promise<boolean> {
    for (const [who, outcome] of this.#model.turn()) expected.set(who, outcome);
    const isDone = (): boolean =>
      this.#settled.size >= expected.size &&
      isDeepStrictEqual(this.#realStates(), this.#wantedStates());
    // At least one, so that a call that should wait shows when it does not.
    for (let i = 0; i < TURNS_MAX && (i < 1 || !isDone()); i++) {
      await new Promise((done) => setImmediate(done));
    }
    return true;
  }

  /** Limits of the next call; one that fails with EBUSY leaves those of the call under way. */
  #options(who: number, member: Member): { timeoutMs: number; signal: AbortSignal } {
    if (this.#model.parties[who]?.call === undefined) member.stop = new AbortController();
    return { timeoutMs: TIMEOUT_MS, signal: member.stop.signal };
  }

  #expect(who: number, member: Member, call: Promise<void>, receives: boolean): void {
    const settle = (outcome: Outcome): void => {
      this.#settled.set(who, outcome);
    };
    call.then(
      () => settle(this.#outcome(member, 0, receives)),
      (error: unknown) => settle({ code: isDvkError(error) ? error.code : String(error) }),
    );
  }

  #outcome({ process }: Member, result: number, receives: boolean): Outcome {
    if (result < 0) return { code: errorName(result) };
    if (!receives) return { code: 'ok' };
    const kind = process.lastKind;
    const from = slotOf(process.message.source) - FIRST_SLOT;
    return {
      code: 'ok',
      message: { from, kind, id: kind === 'notify' ? 0 : (process.message.int32[ID_INDEX] ?? 0) },
    };
  }

  /** Writes the next message into the window; returns its number. */
  #write({ message }: Process): number {
    const id = ++this.#messages;
    message.type = typeOf(id);
    message.int32[ID_INDEX] = id;
    return id;
  }

  #same(step: string, real: string, wanted: string): true {
    deepStrictEqual(real, wanted, `result of ${step}`);
    this.#count(step, real);
    return true;
  }

  #count(what: string, result: string): void {
    const key = `${what} ${result}`;
    this.results.set(key, (this.results.get(key) ?? 0) + 1);
  }

  #realStates(): string[] {
    const table = new Map(this.#test.segment.processes().map((info) => [info.slot, info]));
    return Array.from({ length: PARTIES }, (_, who) => {
      const info = table.get(FIRST_SLOT + who);
      return info?.life === 'local' ? info.state : 'free';
    });
  }

  #wantedStates(): string[] {
    return this.#model.parties.map(({ bound, word }) => (bound ? word.state : 'free'));
  }

  #endpoint(who: number): Endpoint {
    return this.#endpoints[who] ?? makeEndpoint(FIRST_SLOT + who, 0);
  }

  #code(result: number): string {
    return result < 0 ? errorName(result) : 'ok';
  }
}

/** The code of what `call` throws; or the one that it returns, `ok` for none. */
function codeOf(call: () => unknown): string {
  try {
    const result = call();
    return typeof result === 'string' ? result : 'ok';
  } catch (error) {
    if (!isDvkError(error)) throw error;
    return error.code;
  }
}
