import { beforeEach, describe, expect, it } from 'vitest';
import { Courtesy } from '../../../src/proxies/courtesy.ts';

const PIECE_BYTES = 65_536;

let nowMs: number;
let yieldMs: number;
let yields: number;
let courtesy: Courtesy;

beforeEach(() => {
  [nowMs, yieldMs, yields] = [0, 0, 0];
  courtesy = new Courtesy({
    nowMs: () => nowMs,
    yieldCpu: () => {
      yields++;
      nowMs += yieldMs;
    },
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
