/**
 * Drives the machine of one datagram socket: hands over what comes, gives it its turn, and wakes it
 * up in time. What the socket is, UDP's or Ethernet's, is its owner's business.
 */
import { createHmac, randomBytes, randomInt } from 'node:crypto';
import type { Clock } from '../dvk/clock.ts';
import { crc32c } from '../dvk/crc32c.ts';
import type { Admission } from './admission.ts';
import { courtesy } from './courtesy.ts';
import { DatagramEndpoint, type EndpointCounters } from './datagram/endpoint.ts';
import { plainSeal } from './datagram/packet.ts';
import type { Security } from './datagram/security.ts';
import type { DatagramSettings } from './datagram/settings.ts';
import type { Accept } from './transport.ts';

const ID_RANGE = 2 ** 48 - 1;
// Has its callbacks called as microtasks; queueMicrotask of Node.js makes an object for each, which
// costs as much as a packet.
const NOW = Promise.resolve();

export interface DatagramSocket {
  /**
   * Whether what came together is handed over in one go. Then the machine has its turn right after
   * that, else when the event loop has brought all of it.
   */
  readonly isBatched: boolean;
  /** Sends a datagram, which is good during the call. */
  send(to: string, datagram: Uint8Array): void;
  /** Sends what `send` has held back. */
  flush(): void;
  close(): void;
}

export interface DriverOptions {
  clock: Clock;
  security: Security | undefined;
  settings: Partial<DatagramSettings>;
  counters: EndpointCounters;
  admission: Admission | undefined;
}

export class DatagramDriver {
  readonly endpoint: DatagramEndpoint;
  readonly #socket: DatagramSocket;
  readonly #clock: Clock;
  #isScheduled = false;
  #isRunning = false;
  // Datagrams are handed over, and whether one of them has given the machine something to do.
  #isReceiving = false;
  #isDue = false;
  #isClosed = false;
  #stopTimer: () => void = () => undefined;
  // When the machine last had something to do.
  #lastMs = 0;
  // When the timer is due; Infinity without one.
  #timerMs = Infinity;
  // Whether the socket stays open without connections.
  #isListening = false;

  constructor(socket: DatagramSocket, options: DriverOptions) {
    this.#socket = socket;
    this.#clock = options.clock;
    const secret = randomBytes(32);
    this.endpoint = new DatagramEndpoint(
      {
        seal: plainSeal(crc32c),
        security: options.security,
        send: (to, datagram) => {
          if (!this.#isClosed) this.#socket.send(to, datagram);
        },
        wake: () => {
          this.schedule();
        },
        isShared: () => courtesy.isShared,
        hash: (bytes) => createHmac('sha256', secret).update(bytes).digest(),
        random: () => randomInt(ID_RANGE) / ID_RANGE,
        settings: options.settings,
        counters: options.counters,
        admission: options.admission,
      },
      this.#clock.nowMs(),
    );
  }

  /** Takes connections, and stays open without one, until `stopListening`. */
  listen(accept: Accept): void {
    this.#isListening = true;
    this.endpoint.listen(accept);
  }

  stopListening(): void {
    this.#isListening = false;
    this.endpoint.listen(undefined);
    this.schedule();
  }

  /** A datagram came; `settle` is due after those that came together. */
  receive(datagram: Uint8Array, from: string): void {
    if (this.#isClosed) return;
    this.#isReceiving = this.#socket.isBatched;
    this.#lastMs = this.#clock.nowMs();
    this.endpoint.receive(datagram, from, this.#lastMs);
  }

  /** Sends what answers the datagrams that came, and sees to it that the machine wakes up. */
  settle(): void {
    this.#isReceiving = false;
    if (this.#isDue) {
      this.#isDue = false;
      this.#run();
    } else if (!this.#isScheduled && !this.#isClosed) {
      this.#socket.flush();
      this.#arm(this.#lastMs);
    }
  }

  /** After what goes on now, so that what came or is to be sent together goes together. */
  schedule(): void {
    if (this.#isScheduled || this.#isClosed) return;
    if (this.#isReceiving) {
      this.#isDue = true;
      return;
    }
    this.#isScheduled = true;
    // A machine with more to send than one turn may lets the event loop have its own.
    if (this.#socket.isBatched && !this.#isRunning) void NOW.then(this.#take);
    else setImmediate(this.#take);
  }

  readonly #take = (): void => {
    this.#isScheduled = false;
    this.#run();
  };

  #run(): void {
    if (this.#isClosed) return;
    this.#isRunning = true;
    const nowMs = (this.#lastMs = this.#clock.nowMs());
    this.endpoint.run(nowMs);
    this.#isRunning = false;
    this.#socket.flush();
    if (this.endpoint.size === 0 && !this.#isListening) {
      this.#close();
      return;
    }
    this.#arm(nowMs);
  }

  // A timer that is set for an earlier time stays: most are put off before they are due.
  #arm(nowMs: number): void {
    const waitMs = this.endpoint.waitMs(nowMs);
    if (nowMs + waitMs >= this.#timerMs) return;
    this.#stopTimer();
    this.#timerMs = nowMs + waitMs;
    this.#stopTimer = this.#clock.after(waitMs, () => {
      this.#timerMs = Infinity;
      this.schedule();
    });
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopTimer();
    this.#socket.close();
  }
}
