// Group J of the conformance list: MINIX's rules of deadlock, pairs and cycles, and who is told.
// Method: awaited calls of one event loop, and a blocking call that would wait for one of them.
// Reference: dvs.md 16.2 and 20.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errorName, isDvkError, type Process } from '../../src/dvk/index.ts';
import { TestSegment } from '../support/segments.ts';

let test: TestSegment;
let processes: Process[];
beforeEach(() => {
  test = new TestSegment();
  processes = Array.from({ length: 4 }, (_, i) =>
    test.segment.bind({ slot: 10 + i, level: 'server', name: `p${String(i)}` }),
  );
});
afterEach(() => {
  test.remove();
});

function at(i: number): Process {
  const process = processes[i];
  if (process === undefined) throw new Error(`no process ${String(i)}`);
  return process;
}

async function codeOf(call: Promise<void>): Promise<string> {
  try {
    await call;
    return 'none';
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
}

describe('20.J two processes', () => {
  it('that send to each other: the second gets ELOCKED, blocking or awaited', async () => {
    const first = at(0).send(at(1).endpoint);
    expect(errorName(at(1).sendRaw(at(0).endpoint, 5_000))).toBe('ELOCKED');
    expect(await codeOf(at(1).sendrec(at(0).endpoint))).toBe('ELOCKED');
    at(1).receiveSync(at(0).endpoint);
    await first;
  });

  it('that receive from each other: the second gets ELOCKED', async () => {
    const first = at(0).receive(at(1).endpoint);
    expect(await codeOf(at(1).receive(at(0).endpoint))).toBe('ELOCKED');
    at(1).sendSync(at(0).endpoint);
    await first;
  });

  it('of which one sends and the other receives meet', async () => {
    const first = at(0).receive(at(1).endpoint);
    await at(1).send(at(0).endpoint);
    await first;
    const second = at(0).send(at(1).endpoint);
    await at(1).receive(at(0).endpoint);
    await second;
  });
});

describe('20.J a cycle of more', () => {
  it('fails for the one that would close it, and the others go on', async () => {
    const waits = [
      at(0).send(at(1).endpoint),
      at(1).sendrec(at(2).endpoint),
      at(2).receive(at(3).endpoint),
    ];
    expect(await codeOf(at(3).send(at(0).endpoint))).toBe('ELOCKED');
    expect(await codeOf(at(3).receive(at(0).endpoint))).toBe('ELOCKED');
    at(3).sendSync(at(2).endpoint);
    await waits[2];
    at(2).rcvrqstSync();
    at(2).replySync(at(1).endpoint);
    await waits[1];
    at(1).receiveSync(at(0).endpoint);
    await waits[0];
  });

  it('needs every one of its waits: a receive from anyone breaks it', async () => {
    const receives = at(1).rcvrqst();
    const waits = [at(2).receive(at(1).endpoint), at(0).receive(at(2).endpoint)];
    expect(await codeOf(at(3).send(at(0).endpoint, { timeoutMs: 1 }))).toBe('ETIMEDOUT');
    const call = at(3).sendrec(at(1).endpoint);
    await receives;
    at(1).replySync(at(3).endpoint);
    await call;
    at(1).sendSync(at(2).endpoint);
    await waits[0];
    at(2).sendSync(at(0).endpoint);
    await waits[1];
  });
});
