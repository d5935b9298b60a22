// Whatever a node sends as a probe, the other nodes answer with one frame at most, keep nothing of
// it, and end no wait. Method: random commands and damaged good ones, from a fixed seed, against a
// real segment with waits in it; and floods.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout, ProbeStage } from '../../src/dvk/abi/abi.gen.ts';
import { nodeId, type Process } from '../../src/dvk/index.ts';
import { decodeProbe, encodeProbe, type Probe } from '../../src/proxies/probe.ts';
import { Prober, PROBE_HOPS_MAX } from '../../src/proxies/prober.ts';
import { seeded } from '../support/datagram-network.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { runInput } from '../support/kept-inputs.ts';

const INPUTS = 20_000;
const SEED = 0x5eed;
const [N0, N1] = [nodeId(0), nodeId(1)];

let nodes: HandProxies;
let here: Process;
let there: Process;
let sent: Probe[];
let prober: Prober;
let waits: Promise<void>[];
beforeEach(() => {
  nodes = new HandProxies(2);
  there = nodes.server(10, 1);
  here = nodes.server(11, 0);
  sent = [];
  // Each calls the other: a cycle, were the other node's prober there to find it.
  waits = [here.sendrec(there.endpoint), there.sendrec(here.endpoint)];
  for (const wait of waits) wait.catch(() => undefined);
  nodes.settle();
  prober = new Prober({
    node: N0,
    waits: nodes.segment(0),
    send: (_, probe) => sent.push(probe),
    withdraw: () => {
      throw new Error('a wait was ended');
    },
    newNonce: () => 0x1234_5678_9abc_def0n,
  });
});
afterEach(async () => {
  await nodes.remove();
});

const good = (): Probe => ({
  source: there.endpoint,
  target: here.endpoint,
  call: CommandKind.SNDREC_MSG,
  callId: nodes.segment(1).remoteWait(there.endpoint)?.callId ?? 0,
  ticket: 1n,
  stage: ProbeStage.FOLLOW,
  initiator: here.endpoint,
  initiatorNode: N0,
  initiatorLevel: 1,
  nonce: 1n,
  hops: 5,
  waits: 1,
  sends: 1,
  digest: 7n,
});

describe('a prober', () => {
  it('keeps every field of a probe through the codec', () => {
    const probe = { ...good(), nonce: 2n ** 64n - 1n, ticket: 2n ** 63n, digest: 5n };
    for (const stage of Object.values(ProbeStage)) {
      const call = stage === ProbeStage.FOLLOW ? probe.call : CommandKind.NONE;
      const one = { ...probe, stage, call };
      expect(decodeProbe(encodeProbe(one, { dcId: 5, from: N1, to: N0 }))).toEqual(one);
    }
  });

  it('survives random and damaged probes, and ends no wait by them', () => {
    const random = seeded(SEED);
    const known = encodeProbe(good(), { dcId: 5, from: N1, to: N0 });
    let nowMs = 0;
    let decoded = 0;
    prober.tick(nowMs);
    prober.tick((nowMs += 100));
    sent = [];
    for (let i = 0; i < INPUTS; i++) {
      const command = known.slice();
      const noise = random() < 0.1 ? CommandLayout.BYTES : 1 + Math.floor(random() * 3);
      for (let n = 0; n < noise; n++) {
        command[Math.floor(random() * command.length)] = Math.floor(random() * 256);
      }
      runInput('probes', command, () => {
        const probe = decodeProbe(command);
        if (probe === undefined) return;
        decoded++;
        const before = sent.length;
        prober.receive(N1, probe, (nowMs += 5));
        expect(sent.length - before).toBeLessThanOrEqual(1);
      });
    }
    expect(decoded).toBeGreaterThan(INPUTS / 2);
    expect(sent.length).toBeGreaterThan(100);
    expect(nodes.segment(0).remoteWait(here.endpoint)).toBeDefined();
  });

  it('looks at so many of a node and no more, and at those of others all the same', () => {
    const probe = { ...good(), initiator: there.endpoint, initiatorNode: N1, initiatorLevel: 9 };
    for (let i = 0; i < 10_000; i++) prober.receive(N1, probe, 0);
    const burst = sent.length;
    prober.receive(N1, probe, 1000);
    expect(burst).toBe(256);
    expect(sent.length).toBe(257);
  });

  it('drops probes that have crossed too many links, or would', () => {
    for (const hops of [0, 1, PROBE_HOPS_MAX, PROBE_HOPS_MAX + 1, 0xffff_ffff]) {
      prober.receive(N1, { ...good(), initiator: there.endpoint, initiatorLevel: 9, hops }, 0);
    }
    expect(sent.map((probe) => probe.hops)).toEqual([0, PROBE_HOPS_MAX - 1]);
  });
});
