/**
 * How the command and a node's daemon talk: JSON lines over a unix socket.
 *
 *   request   { "id": 1, "call": "startService", "arguments": { "name": "fs" } }
 *   answer    { "id": 1, "result": ... }   or   { "id": 1, "error": "what went wrong" }
 *
 * Who may connect may do everything: that is the daemon's own user, by the socket's mode, 0600. Nor
 * is a connection of another user heard that comes all the same, unless it is root's: the kernel
 * says who connected. A line of more than 1 MiB, or one that is no request, ends the connection. A
 * daemon reads on when fewer than CALLS_MAX calls of the connection are under way and its answers
 * are taken, and has CONNECTIONS_MAX connections at most, so nobody who sends without reading makes
 * it grow.
 */
import { chmodSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';

import { systemClock } from '../dvk/clock.ts';
import { descriptorOf, peerCredentials } from '../dvk/system.ts';
import { CliError, logEvent } from './output.ts';
import { withTimeout } from './wait.ts';

const LINE_BYTES_MAX = 1 << 20;
const CONNECT_TIMEOUT_MS = 2000;
const CALLS_MAX = 64;
const CONNECTIONS_MAX = 128;
const REFUSED_LOG_MS = 1000;
const NODE_REMEDY = 'The daemon must know who connects; use a Node.js that package.json names.';

export type Handler = (parameters: Readonly<Record<string, unknown>>) => unknown;

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Calls `onLine` for each line that comes in, until that returns false: then it reads no more, and
 * the function returned goes on. Destroys a socket whose line has no end.
 */
function readLines(socket: Socket, onLine: (line: string) => boolean): () => void {
  let pending = '';
  let lines: string[] = [];
  const goOn = (): void => {
    let taken = 0;
    let wantsMore = true;
    while (wantsMore && taken < lines.length && !socket.destroyed) {
      wantsMore = onLine(lines[taken++] ?? '');
    }
    lines = lines.slice(taken);
    if (lines.length > 0 || !wantsMore) socket.pause();
    else socket.resume();
  };
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const more = (pending + chunk).split('\n');
    pending = more.pop() ?? '';
    lines.push(...more);
    if (pending.length > LINE_BYTES_MAX) socket.destroy();
    goOn();
  });
  return goOn;
}

/** The command's end of a connection to a daemon. */
export class DaemonClient {
  readonly #socket: Socket;
  readonly #name: string;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  private constructor(socket: Socket, name: string) {
    this.#socket = socket;
    this.#name = name;
    readLines(socket, (line) => {
      this.#onAnswer(line);
      return true;
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#fail(new CliError(`the daemon of ${name} went away`, 'See `dvk status`.'));
    });
  }

  /**
   * Connects to the daemon of `name` (for messages, as "node 1"). Undefined when nobody listens.
   */
  static async connect(path: string, name: string): Promise<DaemonClient | undefined> {
    const socket = createConnection(path);
    const connected = new Promise<boolean>((resolve) => {
      socket.once('connect', () => {
        resolve(true);
      });
      socket.once('error', () => {
        resolve(false);
      });
    });
    const late = (): Error => new CliError(`the daemon of ${name} does not accept connections`);
    try {
      if (await withTimeout(connected, CONNECT_TIMEOUT_MS, late)) {
        return new DaemonClient(socket, name);
      }
      return undefined;
    } catch {
      socket.destroy();
      return undefined;
    }
  }

  /** Makes a call. Rejects with the daemon's error, or when the answer is late. */
  async call(name: string, parameters: object = {}, timeoutMs = 5000): Promise<unknown> {
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
    this.#socket.write(`${JSON.stringify({ id, call: name, arguments: parameters })}\n`);
    const seconds = String(timeoutMs / 1000);
    const late = (): Error =>
      new CliError(`the daemon of ${this.#name} does not answer ${name} within ${seconds} s`);
    try {
      return await withTimeout(answer, timeoutMs, late);
    } finally {
      this.#waiting.delete(id);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #onAnswer(line: string): void {
    let answer: Answer;
    try {
      answer = JSON.parse(line) as Answer;
    } catch {
      this.#socket.destroy();
      return;
    }
    const waiting = this.#waiting.get(answer.id);
    if (answer.error === undefined) waiting?.resolve(answer.result);
    else waiting?.reject(new CliError(answer.error));
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** Lets in who runs as the daemon does, or as root, and logs others, one in a second at most. */
class Door {
  #refused = 0;
  #loggedMs = -Infinity;

  admits(socket: Socket): boolean {
    const fd = descriptorOf(socket);
    const peer = fd === undefined ? undefined : peerCredentials(fd);
    if (peer?.uid === 0 || (peer !== undefined && peer.uid === process.geteuid?.())) return true;
    this.#refused++;
    const nowMs = systemClock.nowMs();
    if (nowMs - this.#loggedMs >= REFUSED_LOG_MS) {
      this.#loggedMs = nowMs;
      logEvent('caller.refused', { ...peer, refused: this.#refused });
    }
    return false;
  }
}

/** The daemon's end: answers calls of its own user and of root until it is closed. */
export async function serve(
  path: string,
  handlers: Readonly<Record<string, Handler>>,
): Promise<Server> {
  const door = new Door();
  const server = createServer((socket) => {
    // What it has sent is with the kernel: nobody reads before the next turn of the event loop.
    if (!door.admits(socket)) {
      socket.destroy();
      return;
    }
    let underWay = 0;
    const isFree = (): boolean => underWay < CALLS_MAX && !socket.writableNeedDrain;
    const goOn = readLines(socket, (line) => {
      underWay++;
      void answer(socket, handlers, line).then(() => {
        underWay--;
        if (isFree()) goOn();
      });
      return isFree();
    });
    socket.on('error', () => undefined);
    socket.on('drain', () => {
      if (isFree()) goOn();
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  // listen() binds before it returns, and the socket is made with the mask's mode: there is no
  // moment at which others could connect.
  const mask = process.umask(0o177);
  const listening = new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  process.umask(mask);
  await listening;
  if (descriptorOf(server) === undefined) {
    server.close();
    throw new CliError('this Node.js does not tell the descriptors of its sockets', NODE_REMEDY);
  }
  chmodSync(path, 0o600);
  return server;
}

async function answer(
  socket: Socket,
  handlers: Readonly<Record<string, Handler>>,
  line: string,
): Promise<void> {
  const request = parseRequest(line);
  if (request === undefined) {
    socket.destroy();
    return;
  }
  const { id, call, parameters } = request;
  const reply = (value: Omit<Answer, 'id'>): void => {
    if (socket.writable) socket.write(`${JSON.stringify({ id, ...value })}\n`);
  };
  const handler = Object.hasOwn(handlers, call) ? handlers[call] : undefined;
  if (handler === undefined) {
    reply({ error: `the daemon has no call ${call}; is it of another version?` });
    return;
  }
  try {
    reply({ result: (await handler(parameters)) ?? null });
  } catch (error) {
    reply({ error: error instanceof Error ? error.message : String(error) });
  }
}

interface Request {
  readonly id: number;
  readonly call: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

function parseRequest(line: string): Request | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, call, arguments: parameters } = value as Record<string, unknown>;
  if (typeof id !== 'number' || typeof call !== 'string') return undefined;
  const isMap = typeof parameters === 'object' && parameters !== null;
  return { id, call, parameters: isMap ? (parameters as Record<string, unknown>) : {} };
}
