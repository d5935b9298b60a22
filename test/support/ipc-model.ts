/**
 * What M3-IPC promises, as a model of a few dozen lines: slots, words, queues and notices, and no
 * concurrency. A test runs the same steps on it and on the core, and compares.
 *
 * A call that was answered is `full`, `taken` or `error` until the event loop turns; a receiver
 * that was woken to look at its queues is `kicked` until then, and a client whose request was
 * relayed goes on with it then. All that is as in the core, where the owner takes the last step.
 */
import type { MessageKind } from '../../src/dvk/index.ts';

/** What a call came to: an error's name, or `ok` with the message received, if any. */
export interface Outcome {
  code: string;
  message?: { from: number; kind: MessageKind; id: number };
}

type Word =
  | { state: 'running' | 'receiving any' | 'receiving request' | 'kicked' }
  | { state: 'receiving from' | 'awaiting reply' | 'sending' | 'calling'; peer: number }
  | { state: 'full' | 'taken' | 'error'; outcome: Outcome }
  | { state: 'full'; relay: Address & { id: number } };

/** An endpoint: a slot, and which of its owners. */
export interface Address {
  slot: number;
  generation: number;
}

/** What matches a message: its source, its type, or both; a notification is of type `notify`. */
export interface ModelRule {
  source?: Address | undefined;
  type?: number | 'notify' | undefined;
}

/** Without `allow` those messages pass that match no rule. */
export interface ModelFilter {
  allow: boolean;
  rules: readonly ModelRule[];
}

/** A message of `senda`. One that is `free` is forgotten, by its id too. */
export interface AsyncMessage {
  state: 'waiting' | 'done' | 'free';
  to: Address;
  id: number;
  ticket: number;
  tells: 'always' | 'failed' | 'never';
  forget: boolean;
  code: string;
}

/** A call under way: whom it is for (undefined: anyone), and the message that it sends. */
interface Call {
  kind: 'send' | 'sendrec' | 'receive' | 'rcvrqst';
  peer: number | undefined;
  /** Owner of the peer's slot when the call began. */
  generation: number;
  id: number;
  ticket: number;
  /** Of two calls under way, which one began first. */
  order: number;
}

interface Party {
  bound: boolean;
  generation: number;
  server: boolean;
  word: Word;
  call: Call | undefined;
  notices: Set<number>;
  wakeup: boolean;
  /** Requests received and not answered: the client, and the message of its call. */
  owed: { client: number; id: number }[];
  filter: ModelFilter | undefined;
  asyncs: AsyncMessage[];
}

const RUNNING: Word = { state: 'running' };
const DONE = new Set(['full', 'taken', 'error']);
const RULES_MAX = 8;
const ASYNCS_MAX = 32;
const TYPES = 3;

/** The type of the message `id`: few, so that filters find some. */
export const typeOf = (id: number): number => id % TYPES;

export class IpcModel {
  readonly parties: Party[];
  ended = false;
  #tickets = 0;
  #orders = 0;

  constructor(count: number) {
    this.parties = Array.from({ length: count }, () => ({
      bound: false,
      generation: 0,
      server: false,
      word: RUNNING,
      call: undefined,
      notices: new Set<number>(),
      wakeup: false,
      owed: [],
      filter: undefined,
      asyncs: [],
    }));
  }

  bind(slot: number, server: boolean): void {
    Object.assign(this.#at(slot), {
      bound: true,
      generation: this.#at(slot).generation + 1,
      server,
      word: RUNNING,
      call: undefined,
      notices: new Set(),
      wakeup: false,
      owed: [],
      filter: undefined,
      asyncs: [],
    });
  }

  /** Starts a send or sendrec. Undefined: it waits. */
  startMessage(from: number, to: number, call: boolean, id: number): Outcome | undefined {
    const error = this.#refusal(from, to, call ? 'EDVSENDPOINT' : 'EDVSBADDEST');
    if (error !== undefined) return { code: error };
    const kind = call ? 'sendrec' : 'send';
    const { generation } = this.#at(to);
    const order = ++this.#orders;
    this.#at(from).call = { kind, peer: to, generation, id, ticket: 0, order };
    return this.#launch(from, to);
  }

  /** Starts a receive (from anyone when `source` is undefined) or rcvrqst. Undefined: it waits. */
  startReceive(slot: number, source: number | undefined, request: boolean): Outcome | undefined {
    const self = this.#at(slot);
    if (request && !self.server) return { code: 'ETRAPDENIED' };
    const error = this.#refusal(slot, source, 'EDVSENDPOINT');
    if (error !== undefined) return { code: error };
    const generation = source === undefined ? 0 : this.#at(source).generation;
    const kind = request ? 'rcvrqst' : 'receive';
    const order = ++this.#orders;
    self.call = { kind, peer: source, generation, id: 0, ticket: 0, order };
    return this.#scan(slot);
  }

  reply(from: number, to: number, id: number): Outcome {
    if (!this.#at(from).server) return { code: 'ETRAPDENIED' };
    const error = this.#refusal(from, to, 'EDVSENDPOINT', true);
    if (error !== undefined) return { code: error };
    const message = { from, kind: 'send' as const, id };
    return this.#answer(from, to, { state: 'full', outcome: { code: 'ok', message } });
  }

  /** In place of a reply to `client`: its call goes on at `to`, with the message `id`. */
  relay(from: number, client: number, to: number, id: number): Outcome {
    if (!this.#at(from).server) return { code: 'ETRAPDENIED' };
    let error = this.#refusal(from, client, 'EDVSENDPOINT', true);
    if (error === undefined && to === client) error = 'EDVSENDPOINT';
    error ??= this.#refusal(from, to, 'EDVSENDPOINT', true);
    if (error !== undefined) return { code: error };
    const relay = { ...this.address(to), id };
    return this.#answer(from, client, { state: 'full', relay });
  }

  /** Sends without waiting. The message that was made is undefined for an error. */
  senda(
    from: number,
    to: number,
    id: number,
    options: Pick<AsyncMessage, 'tells' | 'forget'>,
  ): { code: string; message?: AsyncMessage } {
    const error = this.#refusal(from, to, 'EDVSBADDEST', true);
    if (error !== undefined) return { code: error };
    const self = this.#at(from);
    self.asyncs = self.asyncs.filter(({ state }) => state !== 'free');
    if (self.asyncs.length === ASYNCS_MAX) return { code: 'ENOSPC' };
    const { tells, forget } = options;
    const common = { state: 'waiting' as const, to: this.address(to), code: 'ok' };
    const message = { ...common, id, ticket: ++this.#tickets, tells, forget };
    self.asyncs.push(message);
    this.#letLook(to, from);
    return { code: 'ok', message };
  }

  /** What became of a message of `senda`, which is forgotten when that is known. */
  sendaStatus(message: AsyncMessage): string {
    if (message.state === 'free') return 'EINVAL';
    if (message.state === 'waiting') return 'pending';
    message.state = 'free';
    return message.code;
  }

  sendaCancel(from: number, message: AsyncMessage): string {
    if (message.state === 'free') return 'EINVAL';
    if (message.state === 'done') return 'EALREADY';
    this.#endAsync(from, message, 'ECANCELED');
    return 'ok';
  }

  /** Sets a filter, or takes it off. */
  setFilter(slot: number, filter: ModelFilter | undefined): string {
    const self = this.#at(slot);
    if (filter !== undefined && filter.rules.length > RULES_MAX) return 'EINVAL';
    if (self.call !== undefined) return 'EBUSY';
    self.filter = filter;
    return 'ok';
  }

  notify(from: number, to: number): Outcome {
    if (this.ended) return { code: 'EDVSDCNOTRUN' };
    if (from === to) return { code: 'EDVSENDPOINT' };
    const target = this.#at(to);
    if (!target.bound) return { code: 'EDEADSRCDST' };
    if (this.#awaitsNotice(to, from) && this.#activeFilter(to) === undefined) {
      const message = { from, kind: 'notify' as const, id: 0 };
      target.word = { state: 'full', outcome: { code: 'ok', message } };
    } else {
      target.notices.add(from);
      this.#letLook(to, from);
    }
    return { code: 'ok' };
  }

  wakeup(to: number): Outcome {
    const target = this.#at(to);
    if (!target.bound) return { code: 'EDEADSRCDST' };
    target.wakeup = true;
    if (target.word.state.startsWith('receiving')) target.word = { state: 'kicked' };
    return { code: 'ok' };
  }

  /** Ends the call under way, if any, from outside. */
  cancel(slot: number, code: string): Outcome | undefined {
    const { call, word } = this.#at(slot);
    if (call === undefined) return undefined;
    const outcome = 'relay' in word ? this.#follow(slot, word.relay) : undefined;
    if (outcome !== undefined) return outcome;
    return this.#finish(slot, 'outcome' in word ? word.outcome : { code });
  }

  /** Frees a slot, by unbind or by death: who waits for its owner is told. */
  release(slot: number): void {
    const dead = this.address(slot);
    Object.assign(this.#at(slot), { bound: false, word: RUNNING, call: undefined, asyncs: [] });
    for (const [index, party] of this.parties.entries()) {
      party.notices.delete(slot);
      party.owed = party.owed.filter(({ client }) => client !== slot);
      if ('peer' in party.word && party.word.peer === slot) {
        const queued = party.word.state === 'sending' || party.word.state === 'calling';
        party.word = { state: 'error', outcome: { code: queued ? 'EDSTDIED' : 'ESRCDIED' } };
      }
      for (const message of party.asyncs.filter(({ to }) => same(to, dead))) {
        // The dead may have ended it and not told of it, so it is told of again.
        if (message.state === 'done') this.#tell(index, message);
        else if (message.state === 'waiting') this.#endAsync(index, message, 'EDSTDIED');
      }
    }
  }

  end(): void {
    this.ended = true;
    for (const party of this.parties) {
      const waits = party.word.state !== 'running' && party.word.state !== 'kicked';
      if (!party.bound || !waits || DONE.has(party.word.state)) continue;
      party.word = { state: 'error', outcome: { code: 'EDVSDCNOTRUN' } };
    }
  }

  /** The event loop turns: answered calls are collected, kicked ones look again. */
  turn(): Map<number, Outcome> {
    const outcomes = new Map<number, Outcome>();
    for (let again = true; again;) {
      again = false;
      const calls = [...this.parties.entries()].filter(([, { call }]) => call !== undefined);
      calls.sort(([, a], [, b]) => (a.call?.order ?? 0) - (b.call?.order ?? 0));
      for (const [slot, { word }] of calls) {
        let outcome: Outcome | undefined;
        if ('outcome' in word) outcome = this.#finish(slot, word.outcome);
        else if ('relay' in word) outcome = this.#follow(slot, word.relay);
        else if (word.state === 'kicked') outcome = this.#scan(slot);
        else continue;
        again = true;
        outcome ??= this.sleep(slot);
        if (outcome !== undefined) outcomes.set(slot, outcome);
      }
    }
    return outcomes;
  }

  /** A call that waits is about to sleep: the one that closes a cycle of waits ends instead. */
  sleep(slot: number): Outcome | undefined {
    const states: string[] = [];
    for (let at = slot; states.length <= this.parties.length;) {
      const { word } = this.#at(at);
      if (!('peer' in word)) return undefined;
      states.push(word.state);
      at = word.peer;
      if (at === slot) break;
    }
    if (states.length > this.parties.length) return undefined;
    // Of two, one that sends meets one that receives.
    const sending = states.filter((state) => state === 'sending' || state === 'calling').length;
    if (states.length === 2 && sending === 1) return undefined;
    return this.#finish(slot, { code: 'ELOCKED' });
  }

  /** The present owner of a slot, or the last one. */
  address(slot: number): Address {
    return { slot, generation: this.#at(slot).generation };
  }

  #at(slot: number): Party {
    const party = this.parties[slot];
    if (party === undefined) throw new Error(`no slot ${slot} in the model`);
    return party;
  }

  /** The error of a call that does not even start, in the core's order of checks. */
  #refusal(
    slot: number,
    peer: number | undefined,
    toItself: string,
    replies = false,
  ): string | undefined {
    if (this.ended) return 'EDVSDCNOTRUN';
    if (!replies && this.#at(slot).call !== undefined) return 'EBUSY';
    if (peer === slot) return toItself;
    if (peer !== undefined && !this.#at(peer).bound) return 'EDEADSRCDST';
    return undefined;
  }

  /** Sends the message of the call under way, to the slot `to`. Undefined: it waits. */
  #launch(from: number, to: number): Outcome | undefined {
    const self = this.#at(from);
    const started = self.call;
    if (started === undefined) throw new Error(`slot ${from} has no call`);
    const call = started.kind === 'sendrec';
    const filtered = this.#activeFilter(to) !== undefined;
    if (this.#accepts(to, from, call) && !filtered) {
      const message = { from, kind: call ? ('call' as const) : ('send' as const), id: started.id };
      this.#at(to).word = { state: 'full', outcome: { code: 'ok', message } };
      if (!call) return this.#finish(from, { code: 'ok' });
      self.word = { state: 'awaiting reply', peer: to };
    } else {
      started.ticket = ++this.#tickets;
      self.word = { state: call ? 'calling' : 'sending', peer: to };
      if (this.#accepts(to, from, call)) this.#at(to).word = { state: 'kicked' };
    }
    return undefined;
  }

  /** The client's step that sends a relayed request on. */
  #follow(slot: number, relay: Address & { id: number }): Outcome | undefined {
    const self = this.#at(slot);
    if (self.call === undefined) throw new Error(`slot ${slot} has no call to relay`);
    self.call = { ...self.call, peer: relay.slot, generation: relay.generation, id: relay.id };
    if (!this.#lives(relay.slot, relay.generation)) {
      return this.#finish(slot, { code: 'EDEADSRCDST' });
    }
    if (this.ended) return this.#finish(slot, { code: 'EDVSDCNOTRUN' });
    return this.#launch(slot, relay.slot);
  }

  /** Gives `client`, which awaits the reply of `from`, that word. */
  #answer(from: number, to: number, word: Word): Outcome {
    const self = this.#at(from);
    const client = this.#at(to);
    const [request, ...others] = self.owed.filter((owed) => owed.client === to);
    // Of two requests of a client the reply does not say which one it answers.
    if (request === undefined || others.length > 0) return { code: 'EDVSPROCSTS' };
    self.owed = self.owed.filter((owed) => owed !== request);
    const waits = client.word.state === 'awaiting reply' && client.word.peer === from;
    if (!waits || client.call?.id !== request.id) return { code: 'EDVSPROCSTS' };
    client.word = word;
    return { code: 'ok' };
  }

  #endAsync(from: number, message: AsyncMessage, code: string): void {
    message.state = message.forget ? 'free' : 'done';
    message.code = code;
    this.#tell(from, message);
  }

  /** Tells the sender of a message that is done, if it wants to know: it notifies itself. */
  #tell(from: number, { tells, code }: AsyncMessage): void {
    if (tells === 'never' || (tells === 'failed' && code === 'ok')) return;
    this.#at(from).notices.add(from);
    this.#letLook(from, from);
  }

  /** A receiver that waits for what is not an answer looks whether that of `from` is for it. */
  #letLook(receiver: number, from: number): void {
    if (this.#awaitsNotice(receiver, from)) this.#at(receiver).word = { state: 'kicked' };
  }

  #awaitsNotice(receiver: number, from: number): boolean {
    const { word } = this.#at(receiver);
    return (
      word.state === 'receiving any' || (word.state === 'receiving from' && word.peer === from)
    );
  }

  /** The filter of the call under way: those for one source have none. */
  #activeFilter(slot: number): ModelFilter | undefined {
    const { call, filter } = this.#at(slot);
    const open = call?.kind === 'rcvrqst' || (call?.kind === 'receive' && call.peer === undefined);
    return open ? filter : undefined;
  }

  #passes(receiver: number, from: number, type: number | 'notify'): boolean {
    const filter = this.#activeFilter(receiver);
    if (filter === undefined) return true;
    const source = this.address(from);
    const matches = filter.rules.some(
      (rule) =>
        (rule.source === undefined || same(rule.source, source)) &&
        (rule.type === undefined || rule.type === type),
    );
    return matches === filter.allow;
  }

  #accepts(receiver: number, sender: number, call: boolean): boolean {
    const { word } = this.#at(receiver);
    switch (word.state) {
      case 'receiving any':
        return true;
      case 'receiving request':
        return call;
      case 'receiving from':
      case 'awaiting reply':
        return word.peer === sender;
      default:
        return false;
    }
  }

  /** Takes what is there for a receive, in M3-IPC's order, or opens. */
  #scan(slot: number): Outcome | undefined {
    const self = this.#at(slot);
    const source = self.call?.peer;
    const request = self.call?.kind === 'rcvrqst';
    if (self.wakeup) {
      self.wakeup = false;
      return this.#finish(slot, { code: 'EDVSWOKENUP' });
    }
    const gone = source !== undefined && !this.#lives(source, self.call?.generation);
    const notice = [...self.notices]
      .sort((a, b) => a - b)
      .find(
        (from) =>
          !gone && (source === undefined || source === from) && this.#passes(slot, from, 'notify'),
      );
    if (!request && notice !== undefined) {
      self.notices.delete(notice);
      return this.#finish(slot, { code: 'ok', message: { from: notice, kind: 'notify', id: 0 } });
    }
    const posted = request || gone ? undefined : this.#oldestAsync(slot, source);
    if (posted !== undefined) {
      this.#endAsync(posted.from, posted.message, 'ok');
      const message = { from: posted.from, kind: 'async' as const, id: posted.message.id };
      return this.#finish(slot, { code: 'ok', message });
    }
    const sender = gone ? undefined : this.#oldest(slot, source, request);
    if (sender !== undefined) return this.#take(slot, sender);
    if (this.ended) return this.#finish(slot, { code: 'EDVSDCNOTRUN' });
    if (gone) return this.#finish(slot, { code: 'ESRCDIED' });
    if (request) self.word = { state: 'receiving request' };
    else if (source === undefined) self.word = { state: 'receiving any' };
    else self.word = { state: 'receiving from', peer: source };
    return undefined;
  }

  #lives(slot: number, generation: number | undefined): boolean {
    const { bound, generation: present } = this.#at(slot);
    return bound && present === generation;
  }

  #oldest(slot: number, source: number | undefined, request: boolean): number | undefined {
    const queue = [...this.parties.entries()].filter(([from, { word, call }]) => {
      const waits = word.state === 'calling' || (word.state === 'sending' && !request);
      const wanted = source === undefined || source === from;
      return (
        waits && word.peer === slot && wanted && this.#passes(slot, from, typeOf(call?.id ?? 0))
      );
    });
    queue.sort(([, a], [, b]) => (a.call?.ticket ?? 0) - (b.call?.ticket ?? 0));
    return queue[0]?.[0];
  }

  #oldestAsync(
    slot: number,
    source: number | undefined,
  ): { from: number; message: AsyncMessage } | undefined {
    const own = this.address(slot);
    const waiting = [...this.parties.entries()]
      .filter(([from]) => source === undefined || source === from)
      .flatMap(([from, { asyncs }]) => asyncs.map((message) => ({ from, message })))
      .filter(({ message }) => message.state === 'waiting' && same(message.to, own))
      .filter(({ from, message }) => this.#passes(slot, from, typeOf(message.id)));
    return waiting.sort((a, b) => a.message.ticket - b.message.ticket)[0];
  }

  #take(slot: number, from: number): Outcome {
    const sender = this.#at(from);
    const call = sender.word.state === 'calling';
    const message = {
      from,
      kind: call ? ('call' as const) : ('send' as const),
      id: sender.call?.id ?? 0,
    };
    sender.word = call
      ? { state: 'awaiting reply', peer: slot }
      : { state: 'taken', outcome: { code: 'ok' } };
    return this.#finish(slot, { code: 'ok', message });
  }

  #finish(slot: number, outcome: Outcome): Outcome {
    const self = this.#at(slot);
    const { message } = outcome;
    if (message?.kind === 'call') self.owed.push({ client: message.from, id: message.id });
    self.word = RUNNING;
    self.call = undefined;
    return outcome;
  }
}

function same(a: Address, b: Address): boolean {
  return a.slot === b.slot && a.generation === b.generation;
}
