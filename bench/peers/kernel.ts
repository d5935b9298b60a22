/**
 * Round trips of the kernel's calls between two Node processes; this program is either of them.
 *
 * Modes: `sync` blocks in sendrec and rcvrqst, `await` awaits them, `notify` sends notifications to
 * and fro. Requests of other types than letters come by sendrec in every mode: where the server
 * shall run, and that it shall end.
 */
import { ANY, Segment, type Endpoint, type Process } from '../../src/dvk/index.ts';
import { checkAnswer, measureAsync, measureSync } from './loops.ts';
import { configuration, followParent, place, reportReady, serveRuns } from './protocol.ts';
import type { Runner } from './protocol.ts';

export type KernelMode = 'sync' | 'await' | 'notify';

export interface KernelConfig {
  readonly role: 'client' | 'server';
  readonly mode: KernelMode;
  readonly segment: string;
  /** Slots of the two in the segment. */
  readonly clientSlot: number;
  readonly serverSlot: number;
}

const LETTER = 1;
const PLACE = 2;
const STOP = 3;
// Words of a message: source, type, then the payload.
const TYPE = 1;
const FIRST = 2;
const LAST = 15;
// PLACE: how many CPUs, then their numbers.
const CPUS = 3;
const CPUS_MAX = LAST - CPUS;

class Client implements Runner {
  readonly #segment: Segment;
  readonly #process: Process;
  readonly #server: Endpoint;
  readonly #mode: KernelMode;

  constructor(config: KernelConfig) {
    this.#segment = Segment.open(config.segment);
    this.#process = this.#segment.bind({ slot: config.clientSlot, name: 'client' });
    const server = this.#segment.lookup(config.serverSlot);
    if (server === undefined) throw new Error('the server is not bound');
    this.#server = server;
    this.#mode = config.mode;
  }

  async run({ ms, cpus }: Parameters<Runner['run']>[0]): ReturnType<Runner['run']> {
    place(cpus.client);
    this.#tellPlace(cpus.peer);
    switch (this.#mode) {
      case 'sync':
        return Promise.resolve(measureSync((counter) => this.#sendrec(counter), ms));
      case 'await':
        return measureAsync(async (counter) => this.#awaited(counter), ms);
      case 'notify':
        return Promise.resolve(measureSync(() => this.#notify(), ms));
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

  #write(counter: number): void {
    const words = this.#process.message.int32;
    words[TYPE] = LETTER;
    words[FIRST] = counter;
    words[LAST] = ~counter;
  }

  #check(counter: number): void {
    const words = this.#process.message.int32;
    checkAnswer(counter, words[FIRST] ?? 0, words[LAST] ?? 0);
  }

  #sendrec(counter: number): void {
    this.#write(counter);
    this.#process.sendrecSync(this.#server);
    this.#check(counter);
  }

  async #awaited(counter: number): Promise<void> {
    this.#write(counter);
    await this.#process.sendrec(this.#server);
    this.#check(counter);
  }

  #notify(): void {
    this.#process.notify(this.#server);
    this.#process.receiveSync(this.#server);
    if (this.#process.lastKind !== 'notify') throw new Error('no notification came');
  }
}

/** Turns the request in the window into its answer. Returns whether the server goes on. */
function answer(server: Process): boolean {
  const words = server.message.int32;
  switch (server.message.type) {
    case LETTER:
      words[FIRST] = ((words[FIRST] ?? 0) + 1) | 0;
      words[LAST] = ((words[LAST] ?? 0) - 1) | 0;
      return true;
    case PLACE:
      place([...words.subarray(CPUS, CPUS + (words[FIRST] ?? 0))]);
      return true;
    default:
      return false;
  }
}

function serveSync(server: Process): void {
  server.rcvrqstSync();
  while (answer(server)) server.replyReceiveSync(server.message.source);
  server.replySync(server.message.source);
}

async function serveAwaited(server: Process): Promise<void> {
  let more = true;
  while (more) {
    await server.rcvrqst();
    more = answer(server);
    server.replySync(server.message.source);
  }
}

function serveNotify(server: Process): void {
  let more = true;
  while (more) {
    server.receiveSync(ANY);
    const { source } = server.message;
    if (server.lastKind === 'notify') {
      server.notify(source);
    } else {
      more = answer(server);
      server.replySync(source);
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
      serveNotify(server);
      break;
  }
  segment.close();
  process.disconnect();
}

followParent();
const config = configuration() as KernelConfig;
if (config.role === 'client') serveRuns(new Client(config));
else await serve(config);
