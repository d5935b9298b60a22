import { beforeEach, describe, expect, it } from 'vitest';
import { Courtesy, TURN_BYTES } from '../../../src/proxies/courtesy.ts';

const PIECE_BYTES = 65_536;

let nowMs: number;
let yieldMs: number;
let yields: number;
let hasSlices: boolean;
let slices: number[];
let deferred: (() => void)[];
let courtesy: Courtesy;

beforeEach(() => {
  [nowMs, yieldMs, yields] = [0, 0, 0];
  [hasSlices, slices, deferred] = [true, [], []];
  courtesy = new Courtesy({
    nowMs: () => nowMs,
    yieldCpu: () => {
      yields++;
      nowMs += yieldMs;
    },
    setSlice: (microseconds) => {
      slices.push(microseconds);
      return hasSlices;
    },
    defer: (callback) => deferred.push(callback),
  });
});

describe('a proxy that moves blocks', () => {
  it('yields after each piece, whatever it is made of', () => {
    for (let i = 0; i < 64; i++) courtesy.moved(PIECE_BYTES / 16);
    courtesy.moved(3 * PIECE_BYTES);

    expect(yields).toBe(5);
  });

  it('does not yield for short commands', () => {
    for (let i = 0; i < 100; i++) courtesy.moved(0);

    expect(yields).toBe(0);
  });

  it('gives those who wait for a moment a fifth of the time', () => {
    yieldMs = 0.05;

    while (nowMs < 1000) {
      courtesy.moved(PIECE_BYTES);
      nowMs += 0.05;
    }

    expect((yields * yieldMs) / nowMs).toBeCloseTo(0.2, 2);
  });

  it('gives a busy stranger next to nothing, and yields again once it is gone', () => {
    yieldMs = 3;
    while (nowMs < 10_000) {
      courtesy.moved(PIECE_BYTES);
      nowMs += 0.05;
    }
    expect((yields * yieldMs) / nowMs).toBeLessThan(0.01);

    yieldMs = 0.001;
    nowMs += 640;
    yields = 0;
    for (let i = 0; i < 100; i++) {
      courtesy.moved(PIECE_BYTES);
      nowMs += 0.05;
    }
    expect(yields).toBe(100);
  });
});

describe('the slice of a proxy', () => {
  const LONG = 100_000;
  const SHORT = 100;

  it('is the longest while it moves blocks, and the shortest otherwise', () => {
    courtesy.begin();
    courtesy.moved(4096);
    expect(slices).toEqual([SHORT]);
    for (let i = 0; i < 10; i++) courtesy.moved(PIECE_BYTES / 4);
    expect(slices).toEqual([SHORT, LONG]);
    for (const callback of deferred.splice(0)) callback();
    expect(slices).toEqual([SHORT, LONG, SHORT]);
    courtesy.moved(PIECE_BYTES);

    expect(slices).toEqual([SHORT, LONG, SHORT, LONG]);
  });

  it('is the longest from the beginning of the turns that follow', () => {
    courtesy.begin();
    courtesy.served(5);
    courtesy.moved(PIECE_BYTES);
    let turns = 0;
    for (; deferred.length > 0; turns++) {
      for (const callback of deferred.splice(0)) callback();
      courtesy.served(5);
    }

    expect(turns).toBe(8);
    expect(slices.slice(0, 4)).toEqual([SHORT, LONG, SHORT, LONG]);
    expect(slices.at(-1)).toBe(SHORT);
  });

  it('is left alone where the kernel has none', () => {
    hasSlices = false;
    courtesy.begin();
    for (let i = 0; i < 10; i++) courtesy.moved(PIECE_BYTES);

    expect([slices, deferred]).toEqual([[SHORT], []]);
  });
});

describe('a turn of the event loop', () => {
  const SHARED_TURN_BYTES = 32_768;

  it('is long for one container, whatever it does', () => {
    for (let i = 0; i < 10; i++) {
      courtesy.served(5);
      courtesy.moved(PIECE_BYTES);
    }

    expect(courtesy.turnBytes).toBe(TURN_BYTES);
  });

  it('is short while there are two, and for 16 MiB after', () => {
    for (const container of [5, 6, 5]) courtesy.served(container);
    let bytes = 0;
    for (; courtesy.turnBytes === SHARED_TURN_BYTES; bytes += SHARED_TURN_BYTES) {
      courtesy.moved(SHARED_TURN_BYTES);
    }

    expect(bytes).toBe(16 * 2 ** 20);
    expect(yields).toBe(bytes / SHARED_TURN_BYTES);
    expect(courtesy.turnBytes).toBe(TURN_BYTES);
    courtesy.served(6);
    expect(courtesy.turnBytes).toBe(SHARED_TURN_BYTES);
  });
});
