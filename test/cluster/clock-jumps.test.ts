// The time of day jumps, on one of two nodes: it is nobody's business but that of certificates. Row
// 22 of the fault matrix. Method: real proxies; that of node 1 has a library preloaded
// (clock-shift.c) by which the test moves its clock, an hour ahead and back, and by more each time,
// or lets it go ten times as fast, while node 0 calls. Clocks that jump under the reliable layer of
// datagrams are simulated in test/fuzz/datagram-network.test.ts.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ROOT, whyNoC } from '../support/c-programs.ts';
import { startNodes, type ProxyNode } from '../support/proxy-node.ts';

const HOUR_MS = 3_600_000;
const CALLS = 2000;
const ROUNDS_MIN = 20;
const DEAD_MS = 60_000;

let folder: string;
let fd: number;
let nodes: ProxyNode[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dvk-clock-'));
  fd = openSync(join(folder, 'ahead'), 'w');
  setClock(0);
});

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
  closeSync(fd);
  rmSync(folder, { recursive: true, force: true });
});

/** The clock of node 1 is so far ahead of time from now on, and goes `rate` times as fast. */
function setClock(aheadMs: number, rate = 1): void {
  const words = [aheadMs * 1_000_000, rate, Date.now() * 1_000_000].map(BigInt);
  writeSync(fd, BigInt64Array.from(words), 0, undefined, 0);
}

/** A library for the loader to put before libc, and what tells it of the clock. */
function preloaded(): NodeJS.ProcessEnv {
  const library = join(folder, 'clock-shift.so');
  const source = join(ROOT, 'test/support/clock-shift.c');
  execFileSync('cc', ['-std=c11', '-Wall', '-Werror', '-shared', '-fPIC', '-o', library, source]);
  return { ...process.env, LD_PRELOAD: library, DVK_TEST_CLOCK: join(folder, 'ahead') };
}

it('costs no call and no link', async (ctx) => {
  const missing = whyNoC();
  if (missing !== undefined) ctx.skip(missing);
  const environment = preloaded();
  nodes = await startNodes(2, (node) => (node === 1 ? { environment } : {}));
  const [a, b] = nodes as [ProxyNode, ProxyNode];
  // A machine that is slow to give a proxy its turn ends no link.
  for (const node of nodes) {
    node.tell({ type: 'set', settings: { deadMs: DEAD_MS } });
    expect(await node.told('set')).toHaveProperty('changes');
  }
  const [server, client] = [await b.member({ slot: 10 }), await a.member()];
  await a.knows(server.endpoint);
  const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 0 });
  echo.catch(() => undefined);

  let right = 0;
  let rounds = 0;
  for (; right < CALLS || rounds < ROUNDS_MIN; rounds++) {
    const jumps = [HOUR_MS, -HOUR_MS, 0, 9 * rounds, -HOUR_MS - 9 * rounds, 0];
    setClock(jumps[rounds % 6] ?? 0, rounds % 6 === 5 ? 10 : 1);
    const calls = { do: 'calls', server: server.endpoint, count: 100, start: right } as const;
    right += (await client.order<{ right: number }>(calls)).right;
  }

  expect(right).toBe(100 * rounds);
  for (const node of [a, b]) {
    const [peer] = (await node.statistics()).peers;
    expect(peer).toMatchObject({ state: 'up', reconnects: 0, resumed: 0, dropped: 0 });
  }
  // It is the clock that certificates are held against: two days later they have expired.
  setClock(48 * HOUR_MS);
  expect(await b.link(0, 'down')).toMatch(/^certificate: .* expired/);
  setClock(0);
  await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
});
