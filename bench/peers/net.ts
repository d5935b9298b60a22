/**
 * What two Node processes reach over loopback without a kernel of ours: round trips of 64 bytes
 * over TCP and UDP, and blocks one way over TCP.
 *
 * The child listens, and tells its port. Blocks are read by 'data' events, or in the variant `big`
 * a MiB at a time into one buffer; they are numbered, and the last one of a run is compared whole.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

import type { RunResult } from '../harness.ts';
import { obeyPlace, ParentClient } from './child.ts';
import { LAST, LETTER_BYTES, onLetters } from './letter-stream.ts';
import { checkPattern, fillPattern, numberBlock } from './pattern.ts';
import { configuration, followParent, place, serveRuns, type RunRequest } from './protocol.ts';

export interface NetConfig {
  readonly role: 'client' | 'child';
  readonly kind: 'tcp' | 'udp' | 'stream';
  /** Of a block; of streams. */
  readonly bytes?: number;
  readonly big?: boolean;
}

const HOST = '127.0.0.1';
const READ_BYTES = 2 ** 20;
const AHEAD_BYTES = 4 * 2 ** 20;

function answerOf(letter: Buffer): Buffer {
  const answer = Buffer.from(letter);
  answer.writeInt32LE((letter.readInt32LE(0) + 1) | 0, 0);
  answer.writeInt32LE((letter.readInt32LE(LAST) - 1) | 0, LAST);
  return answer;
}

/** The message of the child that has the port where it listens. */
interface PortNews {
  readonly port: number;
}

abstract class NetClient extends ParentClient {
  readonly #port: Promise<number>;

  constructor(config: NetConfig) {
    super(fileURLToPath(import.meta.url), { ...config, role: 'child' });
    this.#port = once(this.child, 'message').then(([news]) => (news as PortNews).port);
  }

  /** Starts when the child listens. */
  async ready(): Promise<this> {
    await this.open(await this.#port);
    return this;
  }

  protected abstract open(port: number): Promise<void>;

  protected begin(): void {
    // There is nothing to be done before a run.
  }

  protected letterOf(counter: number): Buffer {
    const letter = Buffer.alloc(LETTER_BYTES);
    letter.writeInt32LE(counter, 0);
    letter.writeInt32LE(~counter, LAST);
    return letter;
  }

  protected readonly take = (letter: Buffer): void => {
    this.calls.answered(letter.readInt32LE(0), letter.readInt32LE(LAST));
  };
}

class TcpClient extends NetClient {
  #socket: Socket | undefined;

  protected async open(port: number): Promise<void> {
    this.#socket = connect({ host: HOST, port, noDelay: true });
    onLetters(this.#socket, this.take);
    await once(this.#socket, 'connect');
  }

  protected post(counter: number): void {
    this.#socket?.write(this.letterOf(counter));
  }

  override async close(): Promise<void> {
    this.#socket?.destroy();
    await super.close();
  }
}

class UdpClient extends NetClient {
  readonly #socket: DatagramSocket = createSocket('udp4');

  protected async open(port: number): Promise<void> {
    this.#socket.on('message', this.take);
    this.#socket.connect(port, HOST);
    await once(this.#socket, 'connect');
  }

  protected post(counter: number): void {
    this.#socket.send(this.letterOf(counter));
  }

  override async close(): Promise<void> {
    this.#socket.close();
    await super.close();
  }
}

/** Reads blocks; the time-out of a run is looked at with each piece. */
class StreamClient extends NetClient {
  readonly #bytes: number;
  readonly #big: boolean;
  #socket: Socket | undefined;
  #take: (piece: Buffer) => void = () => undefined;
  // Of the next piece: the block that it belongs to, and where in it.
  #block = 0;
  #at = 0;

  constructor(config: NetConfig) {
    super(config);
    this.#bytes = config.bytes ?? READ_BYTES;
    this.#big = config.big === true;
  }

  protected async open(port: number): Promise<void> {
    const buffer = Buffer.alloc(READ_BYTES);
    const onread = {
      buffer,
      callback: (count: number): boolean => {
        this.#take(buffer.subarray(0, count));
        return true;
      },
    };
    this.#socket = connect({ host: HOST, port, ...(this.#big && { onread }) });
    if (!this.#big) {
      this.#socket.on('data', (piece) => {
        this.#take(piece);
      });
    }
    await once(this.#socket, 'connect');
    this.#socket.pause();
  }

  protected post(): void {
    throw new Error('a stream has no letters');
  }

  override async run({ ms, cpus }: RunRequest): Promise<RunResult> {
    place(cpus.client);
    this.child.send({ cpus: cpus.peer });
    await once(this.child, 'message');
    const warmUp = await this.#read(ms / 8);
    const read = await this.#read(ms);
    await this.#compare();
    return { perSecond: (read.bytes * 1000) / read.ms, checked: warmUp.blocks + read.blocks + 1 };
  }

  override async close(): Promise<void> {
    this.#socket?.destroy();
    await super.close();
  }

  /** Reads for about `ms`. */
  async #read(ms: number): Promise<{ bytes: number; blocks: number; ms: number }> {
    const start = performance.now();
    const first = this.#block;
    let bytes = 0;
    return this.#pieces((piece) => {
      bytes += piece.length;
      this.#advance(piece);
      const took = performance.now() - start;
      return took < ms ? undefined : { bytes, blocks: this.#block - first, ms: took };
    });
  }

  /** Reads to the end of the block after this one, and looks at all of that. */
  async #compare(): Promise<void> {
    const block = new Uint8Array(this.#bytes);
    const wanted = this.#block + 1;
    await this.#pieces((piece) => {
      for (let from = 0; from < piece.length;) {
        const part = piece.subarray(from, from + this.#bytes - this.#at);
        if (this.#block === wanted) block.set(part, this.#at);
        this.#advance(part);
        from += part.length;
      }
      return this.#block > wanted ? true : undefined;
    });
    if (!checkPattern(block, wanted)) throw new Error('a block came with other contents');
  }

  /** Reads until `take` returns something. */
  async #pieces<T>(take: (piece: Buffer) => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      this.#take = (piece) => {
        const result = take(piece);
        if (result === undefined) return;
        this.#socket?.pause();
        // What was read already is of no run.
        this.#take = (more) => {
          this.#advance(more);
        };
        resolve(result);
      };
      this.#socket?.resume();
    });
  }

  /** Goes on by a piece, and looks at the numbers that begin and end in it. */
  #advance(piece: Buffer): void {
    for (let from = 0; from < piece.length;) {
      const part = piece.subarray(from, from + this.#bytes - this.#at);
      const end = this.#at + part.length;
      const isWrong =
        (this.#at === 0 && part.length >= 4 && part.readInt32LE(0) !== this.#block) ||
        (end === this.#bytes &&
          part.length >= 4 &&
          part.readInt32LE(part.length - 4) !== this.#block);
      if (isWrong) throw new Error('a block came with another number');
      this.#at = end === this.#bytes ? 0 : end;
      if (end === this.#bytes) this.#block++;
      from += part.length;
    }
  }
}

/** Writes numbered blocks as fast as they are taken; how many ahead is bounded. */
function sendBlocks(socket: Socket, bytes: number): void {
  const ahead = Math.max(2, Math.ceil(AHEAD_BYTES / bytes));
  let next = 0;
  const send = (block: Uint8Array): void => {
    if (socket.destroyed) return;
    numberBlock(block, next++);
    socket.write(block, (error) => {
      if (!error) send(block);
    });
  };
  for (let i = 0; i < ahead; i++) {
    const block = new Uint8Array(bytes);
    fillPattern(block);
    send(block);
  }
}

function tellPort({ port }: AddressInfo): void {
  process.send?.({ port } satisfies PortNews);
}

function serveTcp({ kind, bytes = READ_BYTES }: NetConfig): void {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    if (kind === 'stream') sendBlocks(socket, bytes);
    else onLetters(socket, (letter) => socket.write(answerOf(letter)));
    server.close();
  });
  server.listen({ host: HOST, port: 0 }, () => {
    tellPort(server.address() as AddressInfo);
  });
}

function serveUdp(): void {
  const socket = createSocket('udp4');
  socket.on('message', (letter, { port, address }) => {
    socket.send(answerOf(letter), port, address);
  });
  socket.bind(0, HOST, () => {
    tellPort(socket.address());
  });
}

async function clientOf(config: NetConfig): Promise<NetClient> {
  switch (config.kind) {
    case 'tcp':
      return new TcpClient(config).ready();
    case 'udp':
      return new UdpClient(config).ready();
    case 'stream':
      return new StreamClient(config).ready();
  }
}

followParent();
const config = configuration() as NetConfig;
if (config.role === 'client') {
  serveRuns(await clientOf(config));
} else {
  if (config.kind === 'udp') serveUdp();
  else serveTcp(config);
  process.on('message', obeyPlace);
  process.on('disconnect', () => process.exit(0));
}
