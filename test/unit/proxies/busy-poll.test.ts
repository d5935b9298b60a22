import { describe, expect, it } from 'vitest';

import { BusyPoll } from '../../../src/proxies/busy-poll.ts';

/** An event loop whose turns take 10 us, and which says how many of them did not sleep. */
class Loop {
  nowMs = 1000;
  turns = 0;
  turnMs = 0.01;
  #next: (() => void)[] = [];
  readonly poll: BusyPoll = new BusyPoll({
    nowMs: () => this.nowMs,
    nextTurn: (callback) => this.#next.push(callback),
  });

  /** Goes round without sleeping for `limitMs`, or as long as somebody wants that. */
  run(limitMs: number): void {
    const endMs = this.nowMs + limitMs;
    while (this.#next.length > 0 && this.nowMs < endMs) {
      this.nowMs += this.turnMs;
      this.turns++;
      for (const callback of this.#next.splice(0)) callback();
    }
  }

  /** A command that is answered after `answerMs`. Returns how many turns that took. */
  call(answerMs: number): number {
    const before = this.turns;
    const answeredMs = this.nowMs + answerMs;
    this.poll.sent();
    this.run(answerMs);
    const turns = this.turns - before;
    this.nowMs = Math.max(this.nowMs, answeredMs);
    this.poll.received();
    this.run(1);
    return turns;
  }
}

describe('the event loop of a proxy', () => {
  it('goes round until the answer is there', () => {
    const loop = new Loop();

    const turns = Array.from({ length: 1000 }, () => loop.call(0.05));

    expect(Math.min(...turns)).toBe(5);
    expect(Math.max(...turns)).toBe(5);
  });

  it('has an answer looked for in each turn, which ends the moment when it is there', () => {
    const loop = new Loop();
    let looks = 0;

    loop.poll.sent();
    loop.poll.look = (): void => {
      if (++looks === 3) loop.poll.received();
    };
    loop.run(1);
    // The event loop sleeps at once, so that whom the answer is for runs.
    expect([looks, loop.turns]).toEqual([3, 3]);
    // The next command may go another way.
    loop.poll.sent();
    loop.run(1);

    expect(looks).toBe(3);
  });

  it('sleeps after a moment, and soon at once, when answers take long', () => {
    const loop = new Loop();

    const turns = Array.from({ length: 6400 }, () => loop.call(1));

    expect(turns[0]).toBeLessThan(15);
    expect(loop.turns).toBeLessThan(6400 / 4);
  });

  it('comes back to it when answers are quick again', () => {
    const loop = new Loop();
    for (let i = 0; i < 1000; i++) loop.call(1);

    const turns = Array.from({ length: 200 }, () => loop.call(0.05));

    expect(turns.slice(150).every((count) => count === 5)).toBe(true);
  });

  it('gives way to others that have work for the CPU', () => {
    const loop = new Loop();
    loop.turnMs = 0.5;

    for (let i = 0; i < 6400; i++) loop.call(1);

    expect(loop.turns).toBeLessThan(6400 / 16);
  });

  it('sleeps when nothing was sent, and when many commands are under way', () => {
    const loop = new Loop();
    loop.run(1);
    expect(loop.turns).toBe(0);

    for (let i = 0; i < 64; i++) loop.poll.sent();
    loop.run(1);

    expect(loop.turns).toBe(1);
  });

  it('ends each moment, however many commands go out one way', () => {
    const loop = new Loop();

    for (let i = 0; i < 1000; i++) {
      loop.poll.sent();
      loop.run(0.02);
    }

    expect(loop.turns).toBeLessThan(64);
  });
});
