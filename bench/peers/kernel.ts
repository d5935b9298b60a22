/**
 * Round trips of the kernel's calls between two Node processes; this program is either of them.
 *
 * Modes: `sync` blocks in sendrec and rcvrqst, `await` awaits them, `notify` sends notifications to
 * and fro, `mix` does all by turns. Requests of other types than letters come by sendrec in every
 * mode: where the server shall run, and that it shall end.
 */
import { ANY, Segment } from '../../src/dvk/index.ts';
import type { Endpoint, GrantId, Process } from '../../src/dvk/index.ts';
import { checkAnswer, measureAsync, measureSync } from './loops.ts';
import { Exchange, exchangeOf, MIX_BLOCK_BYTES } from './mix.ts';
import { configuration, followParent, place, reportReady, serveRuns } from './protocol.ts';
import type { Runner } from './protocol.ts';

export type KernelMode = 'sync' | 'await' | 'notify' | 'mix';

export interface KernelConfig {
  readonly role: 'client' | 'server';
  readonly mode: KernelMode;
  readonly segment: string;
  readonly serverSlot: number;
}

// Types of messages. Those of a mix are below 16.
const LETTER = 16;
const PLACE = 17;
const STOP = 18;
// Words of a message: source, type, then the payload.
const TYPE = 1;
const FIRST = 2;
const LAST = 15;
// BLOCK of a mix: the grant.
const GRANT = 3;
// PLACE: how many CPUs, then their numbers.
const CPUS = 3;
const CPUS_MAX = LAST - CPUS;

class Client implements Runner {
  readonly #segment: Segment;
  readonly #process: Process;
  readonly #server: Endpoint;
  readonly #mode: KernelMode;
  readonly #block: Int32Array | undefined;
  readonly #grant: GrantId | undefined;

  constructor(config: KernelConfig) {
    this.#segment = Segment.open(config.segment);
    this.#process = this.#segment.bind({ name: 'client' });
    const server = this.#segment.lookup(config.serverSlot);
    if (server === undefined) throw new Error('the server is not bound');
    this.#server = server;
    this.#mode = config.mode;
    if (config.mode === 'mix') {
      const block = this.#process.allocate(MIX_BLOCK_BYTES);
      this.#block = wordsOf(block);
      this.#grant = this.#process.grant(block, 'read', server);
    }
  }

  async run({ ms, cpus }: Parameters<Runner['run']>[0]): ReturnType<Runner['run']> {
    place(cpus.client);
    this.#tellPlace(cpus.peer);
    switch (this.#mode) {
      case 'sync':
        return Promise.resolve(measureSync((counter) => this.#sendrec(LETTER, counter), ms));
      case 'await':
        return measureAsync(async (counter) => this.#awaited(counter), ms);
      case 'notify':
        return Promise.resolve(measureSync(() => this.#notify(), ms));
      case 'mix':
        return Promise.resolve(measureSync((counter) => this.#exchange(counter), ms));
    }
  }

  close(): void {
    this.#process.message.type = STOP;
    this.#process.sendrecSync(this.#server);
    this.#segment.close();
  }

  #tellPlace(cpus: readonly number[]): void {
    // More CPUs than a message holds are as good as any.
    const told = cpus.slice(0, CPUS_MAX);
    const words = this.#process.message.int32;
    words[TYPE] = PLACE;
    words[FIRST] = told.length;
    words.set(told, CPUS);
    this.#process.sendrecSync(this.#server);
  }

  #write(type: number, counter: number): void {
    const words = this.#process.message.int32;
    words[TYPE] = type;
    words[FIRST] = counter;
    words[LAST] = ~counter;
  }

  #check(counter: number): void {
    const words = this.#process.message.int32;
    checkAnswer(counter, words[FIRST] ?? 0, words[LAST] ?? 0);
  }

  #sendrec(type: number, counter: number): void {
    this.#write(type, counter);
    this.#process.sendrecSync(this.#server);
    this.#check(counter);
  }

  async #awaited(counter: number): Promise<void> {
    this.#write(LETTER, counter);
    await this.#process.sendrec(this.#server);
    this.#check(counter);
  }

  #notify(): void {
    this.#process.notify(this.#server);
    this.#process.receiveSync(this.#server);
    if (this.#process.lastKind !== 'notify') throw new Error('no notification came');
  }

  #exchange(counter: number): void {
    const exchange = exchangeOf(counter);
    switch (exchange) {
      case Exchange.NOTIFY:
        this.#notify();
        return;
      case Exchange.SEND:
        this.#write(exchange, counter);
        this.#process.sendSync(this.#server);
        this.#process.receiveSync(this.#server);
        if (this.#process.lastKind !== 'send') throw new Error('an answer came by another call');
        this.#check(counter);
        return;
      case Exchange.BLOCK:
        this.#offerBlock(counter);
        this.#sendrec(exchange, counter);
        return;
      case Exchange.CALL:
        this.#sendrec(exchange, counter);
    }
  }

  #offerBlock(counter: number): void {
    const block = this.#block ?? new Int32Array();
    block[0] = counter;
    block[block.length - 1] = counter;
    this.#process.message.int32[GRANT] = this.#grant ?? 0;
  }
}

function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** Turns the request in the window into its answer. Returns whether the server goes on. */
function answer(server: Process): boolean {
  const words = server.message.int32;
  switch (server.message.type) {
    case PLACE:
      place([...words.subarray(CPUS, CPUS + (words[FIRST] ?? 0))]);
      return true;
    case STOP:
      return false;
    default:
      words[FIRST] = ((words[FIRST] ?? 0) + 1) | 0;
      words[LAST] = ((words[LAST] ?? 0) - 1) | 0;
      return true;
  }
}

function serveSync(server: Process): void {
  server.rcvrqstSync();
  while (answer(server)) server.replyReceiveSync(server.message.source);
  server.replySync(server.message.source);
}

async function serveAwaited(server: Process): Promise<void> {
  await server.rcvrqst();
  while (answer(server)) await server.replyReceive(server.message.source);
  server.replySync(server.message.source);
}

/** Copies the block of a request, and checks that it is of this very request. */
function fetchBlock(server: Process, target: Uint8Array): void {
  const { source, int32 } = server.message;
  const grant = int32[GRANT] as GrantId;
  server.vcopySync({ endpoint: source, grant, at: 0 }, target, target.length);
  const block = wordsOf(target);
  if (block[0] !== int32[FIRST] || block.at(-1) !== int32[FIRST]) {
    throw new Error('a block has other contents');
  }
}

function serveAll(server: Process): void {
  const target = new Uint8Array(MIX_BLOCK_BYTES);
  let more = true;
  while (more) {
    server.receiveSync(ANY);
    const { source, type } = server.message;
    switch (server.lastKind) {
      case 'notify':
        server.notify(source);
        break;
      case 'send':
        answer(server);
        server.sendSync(source);
        break;
      case 'call':
        if (type === Exchange.BLOCK) fetchBlock(server, target);
        more = answer(server);
        server.replySync(source);
        break;
      default:
        throw new Error('a message came by another call');
    }
  }
}

async function serve(config: KernelConfig): Promise<void> {
  const segment = Segment.open(config.segment);
  const server = segment.bind({ slot: config.serverSlot, level: 'server', name: 'server' });
  reportReady();
  switch (config.mode) {
    case 'sync':
      serveSync(server);
      break;
    case 'await':
      await serveAwaited(server);
      break;
    case 'notify':
    case 'mix':
      serveAll(server);
      break;
  }
  segment.close();
  process.disconnect();
}

followParent();
const config = configuration() as KernelConfig;
if (config.role === 'client') serveRuns(new Client(config));
else await serve(config);
