/**
 * The processes of this node that have gone, and who is told of each: warn2proc of M3-IPC. See
 * native/core/departures.h for why that is a notification of KERNEL and a record.
 */
import { Limit } from './abi/abi.gen.ts';
import { NONE, type Endpoint } from './endpoint.ts';
import { check } from './errors.ts';
import { levelName, type Level } from './info.ts';
import { native, type Binding } from './native.ts';

export interface Departure {
  /** From 1; each departure has the next one. */
  number: number;
  endpoint: Endpoint;
  name: string;
  pid: number;
  level: Level;
  /** It ended without an unbind, or was ended. Its exit code is known to its parent alone. */
  died: boolean;
}

export class Departures {
  readonly #native: Binding = native();
  readonly #segment: number;

  /** For `Segment` alone: `segment` is a handle of the addon. */
  constructor(segment: number) {
    this.#segment = segment;
  }

  /**
   * From now on each process of this node that goes notifies `endpoint`, a process of this node, as
   * KERNEL with `value`, 32 bits. One is warned at a time, the last one named; undefined: nobody.
   * For administration. EDEADSRCDST, ERANGE, EDVSRMTPROC.
   */
  setWarned(endpoint: Endpoint | undefined, value = 0): void {
    const result = this.#native.setWarned(this.#segment, endpoint ?? NONE, value);
    check(result, 'setWarned', { endpoint });
  }

  /**
   * Who went, from that number on, by rising number. The last DEPARTURES are kept: where the first
   * one has a higher number than asked for, those in between were missed.
   */
  since(number: number): Departure[] {
    const found: Departure[] = [];
    while (found.length < Limit.DEPARTURES) {
      const next = this.#native.findDeparture(
        this.#segment,
        (found.at(-1)?.number ?? number - 1) + 1,
      );
      if (typeof next === 'number') check(next, 'departures');
      if (typeof next !== 'object') break;
      const { status, level, endpoint, ...rest } = next;
      found.push({
        ...rest,
        endpoint: endpoint as Endpoint,
        level: levelName(level),
        died: status !== 0,
      });
    }
    return found;
  }
}
