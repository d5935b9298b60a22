/**
 * One end of a connection for tests of transports: keeps or checks what comes, and lets tests wait
 * for it.
 */
import type { Connection, ConnectionEvents, Refusal } from '../../src/proxies/transport.ts';

export class TransportEnd implements ConnectionEvents {
  connection: Connection | undefined;
  closedWith: string | undefined;
  refusal: Refusal | undefined;
  openings = 0;
  receivedBytes = 0;
  readonly #kept: Buffer[] = [];
  readonly #keep: boolean;
  readonly #buffer: Uint8Array;
  readonly #waiters = new Set<() => void>();
  /** What to do with each piece that comes. */
  onBytes: ((bytes: Uint8Array) => void) | undefined;

  constructor(options: { keep?: boolean; bufferBytes?: number } = {}) {
    this.#keep = options.keep ?? true;
    this.#buffer = new Uint8Array(options.bufferBytes ?? 65536);
  }

  opened(connection: Connection): void {
    this.connection = connection;
    this.openings++;
    this.#changed();
  }

  space(): Uint8Array {
    return this.#buffer;
  }

  received(bytes: number): void {
    if (this.closedWith !== undefined) throw new Error('bytes came after the end');
    this.receivedBytes += bytes;
    const piece = this.#buffer.subarray(0, bytes);
    if (this.#keep) this.#kept.push(Buffer.from(piece));
    this.onBytes?.(piece);
    this.#changed();
  }

  closed(reason: string, refusal?: Refusal): void {
    if (this.closedWith !== undefined) throw new Error('closed twice');
    this.closedWith = reason;
    this.refusal = refusal;
    this.#changed();
  }

  /** All that came, in order. */
  bytes(): Buffer {
    return Buffer.concat(this.#kept);
  }

  /** Writes, and resolves when the transport is done with the bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    await new Promise<void>((resolve) => {
      this.connection?.write(bytes, resolve);
    });
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#waiters.add(resolve);
      });
    }
  }

  async untilOpen(): Promise<void> {
    await this.until(() => this.connection !== undefined);
  }

  async untilClosed(): Promise<void> {
    await this.until(() => this.closedWith !== undefined);
  }

  #changed(): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter();
  }
}
