/**
 * What M3-IPC promises, as a model of a few dozen lines: slots, words, queues and notices, and no
 * concurrency. A test runs the same steps on it and on the core, and compares.
 *
 * A call that was answered is `full`, `taken` or `error` until the event loop turns; a receiver
 * that was woken to look at its queues is `kicked` until then. Both are as in the core, where the
 * owner takes the last step.
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
  | { state: 'full' | 'taken' | 'error'; outcome: Outcome };

/** A call under way: whom it is for (undefined: anyone), and the message that it sends. */
interface Call {
  kind: 'send' | 'sendrec' | 'receive' | 'rcvrqst';
  peer: number | undefined;
  /** Owner of the peer's slot when the call began. */
  generation: number;
  id: number;
  ticket: number;
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
}

const RUNNING: Word = { state: 'running' };
const DONE = new Set(['full', 'taken', 'error']);

export class IpcModel {
  readonly parties: Party[];
  ended = false;
  #tickets = 0;

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
    });
  }

  /** Starts a send or sendrec. Undefined: it waits. */
  startMessage(from: number, to: number, call: boolean, id: number): Outcome | undefined {
    const error = this.#refusal(from, to, call ? 'EDVSENDPOINT' : 'EDVSBADDEST');
    if (error !== undefined) return { code: error };
    const self = this.#at(from);
    const target = this.#at(to);
    const { generation } = target;
    const kind = call ? 'sendrec' : 'send';
    const started: Call = { kind, peer: to, generation, id, ticket: 0 };
    if (this.#accepts(to, from, call)) {
      const message = { from, kind: call ? ('call' as const) : ('send' as const), id };
      target.word = { state: 'full', outcome: { code: 'ok', message } };
      if (!call) return { code: 'ok' };
      self.word = { state: 'awaiting reply', peer: to };
    } else {
      started.ticket = ++this.#tickets;
      self.word = { state: call ? 'calling' : 'sending', peer: to };
    }
    self.call = started;
    return undefined;
  }

  /** Starts a receive (from anyone when `source` is undefined) or rcvrqst. Undefined: it waits. */
  startReceive(slot: number, source: number | undefined, request: boolean): Outcome | undefined {
    const self = this.#at(slot);
    if (request && !self.server) return { code: 'ETRAPDENIED' };
    const error = this.#refusal(slot, source, 'EDVSENDPOINT');
    if (error !== undefined) return { code: error };
    const generation = source === undefined ? 0 : this.#at(source).generation;
    const kind = request ? 'rcvrqst' : 'receive';
    self.call = { kind, peer: source, generation, id: 0, ticket: 0 };
    return this.#scan(slot);
  }

  reply(from: number, to: number, id: number): Outcome {
    const self = this.#at(from);
    if (!self.server) return { code: 'ETRAPDENIED' };
    const error = this.#refusal(from, to, 'EDVSENDPOINT', true);
    if (error !== undefined) return { code: error };
    const client = this.#at(to);
    const [request, ...others] = self.owed.filter((owed) => owed.client === to);
    // Of two requests of a client the reply does not say which one it answers.
    if (request === undefined || others.length > 0) return { code: 'EDVSPROCSTS' };
    self.owed = self.owed.filter((owed) => owed !== request);
    const waits = client.word.state === 'awaiting reply' && client.word.peer === from;
    if (!waits || client.call?.id !== request.id) return { code: 'EDVSPROCSTS' };
    const message = { from, kind: 'send' as const, id };
    client.word = { state: 'full', outcome: { code: 'ok', message } };
    return { code: 'ok' };
  }

  notify(from: number, to: number): Outcome {
    if (this.ended) return { code: 'EDVSDCNOTRUN' };
    if (from === to) return { code: 'EDVSENDPOINT' };
    const target = this.#at(to);
    if (!target.bound) return { code: 'EDEADSRCDST' };
    const { word } = target;
    const open =
      word.state === 'receiving any' || (word.state === 'receiving from' && word.peer === from);
    if (open) {
      const message = { from, kind: 'notify' as const, id: 0 };
      target.word = { state: 'full', outcome: { code: 'ok', message } };
    } else {
      target.notices.add(from);
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
    const self = this.#at(slot);
    if (self.call === undefined) return undefined;
    return this.#finish(slot, 'outcome' in self.word ? self.word.outcome : { code });
  }

  /** Frees a slot, by unbind or by death: who waits for its owner is told. */
  release(slot: number): void {
    Object.assign(this.#at(slot), { bound: false, word: RUNNING, call: undefined });
    for (const party of this.parties) {
      party.notices.delete(slot);
      party.owed = party.owed.filter(({ client }) => client !== slot);
      if (!('peer' in party.word) || party.word.peer !== slot) continue;
      const queued = party.word.state === 'sending' || party.word.state === 'calling';
      party.word = { state: 'error', outcome: { code: queued ? 'EDSTDIED' : 'ESRCDIED' } };
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
      for (const [slot, party] of this.parties.entries()) {
        if (party.call === undefined) continue;
        let outcome: Outcome | undefined;
        if ('outcome' in party.word) outcome = this.#finish(slot, party.word.outcome);
        else if (party.word.state === 'kicked') outcome = this.#scan(slot);
        if (outcome === undefined) continue;
        outcomes.set(slot, outcome);
        again = true;
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
      .find((from) => !gone && (source === undefined || source === from));
    if (!request && notice !== undefined) {
      self.notices.delete(notice);
      return this.#finish(slot, { code: 'ok', message: { from: notice, kind: 'notify', id: 0 } });
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
    const queue = [...this.parties.entries()].filter(([from, { word }]) => {
      const waits = word.state === 'calling' || (word.state === 'sending' && !request);
      return waits && word.peer === slot && (source === undefined || source === from);
    });
    queue.sort(([, a], [, b]) => (a.call?.ticket ?? 0) - (b.call?.ticket ?? 0));
    return queue[0]?.[0];
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
