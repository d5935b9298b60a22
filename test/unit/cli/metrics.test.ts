// The counters of proxies as Prometheus reads them: the format, line by line, and the names that
// docs/operation.md promises.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { exposition } from '../../../src/cli/metrics.ts';
import { short } from '../../../src/cli/proxy-stats.ts';
import type { EngineStatistics, PeerStatistics } from '../../../src/proxies/engine.ts';
import type { PathStatistics } from '../../../src/proxies/path.ts';
import { DEFAULT_TIMES } from '../../../src/proxies/session.ts';
import { DEFAULT_SETTINGS } from '../../../src/proxies/settings.ts';
import { newDrops } from '../../../src/proxies/traffic.ts';

const NAME = '[a-z][a-z0-9_]*';
const LABEL = String.raw`${NAME}="(?:[^"\\\n]|\\[\\"n])*"`;
const SAMPLE = new RegExp(String.raw`^dvk_proxy_(${NAME})\{${LABEL}(?:,${LABEL})*\} \d+(\.\d+)?$`);

const path = {
  ...{ framesSent: 5, framesReceived: 6, bytesSent: 7, bytesReceived: 8, staleFrames: 0 },
  ...{ duplicateFrames: 0, path: 'spare', transport: 'tcp', state: 'up', carries: true },
  ...{ preferred: false, remote: 'x', rttMs: 3, upForMs: 1500, steadyMs: 5000, connects: 2 },
  ...{ moves: 1, handshakeFailures: 0, lastDown: null },
  quality: { rttMs: 0.5, packetsSent: 9, packetsLost: 1 },
} as unknown as PathStatistics;

const peer = {
  ...{ framesSent: 5, framesReceived: 6, bytesSent: 2 ** 40, bytesReceived: 8, dropped: 3 },
  ...{ forged: 1, drops: { ...newDrops(), container: 2 }, staleFrames: 0, duplicateFrames: 0 },
  ...{ packedBlocks: 2, packedBytesBefore: 3000, packedBytesAfter: 1000, plainBlocks: 4 },
  ...{ reconnects: 1, node: 1, name: 'n1', state: 'up', transport: 'udp', remote: 'x' },
  quality: {
    ...{ rttMs: 0.25, rttVariationMs: 0.125, rttMinMs: 0.1, datagramBytes: 1472 },
    ...{ windowBytes: 14_720, packetsSent: 9, packetsReceived: 8, packetsLost: 1 },
    ...{ spuriousLosses: null, timeouts: null, duplicates: 0, rekeys: 2 },
  },
  ...{ certificate: null, session: 4, incarnation: '77', upForMs: 1500, containers: [5] },
  queue: { bufferedBytes: 100, bulkBytes: 0, limitBytes: 2 ** 21 },
  throughput: { overMs: 1000, sentBytesPerSecond: 10, receivedBytesPerSecond: 20 },
  ...{ rttMs: 3, failures: 0, handshakeFailures: 2, lastDown: null, moves: 4, paths: [path] },
  traffic: [
    {
      ...{ dcId: 5, state: 'up', queued: 1, queueLimit: 1088, received: [], drops: newDrops() },
      sent: [{ kind: 'SNDREC_MSG', commands: 7, dataBytes: 0, errors: 0 }],
    },
  ],
} as unknown as PeerStatistics;

const stats: EngineStatistics = {
  node: 0 as never,
  incarnation: '9',
  upForMs: 60_000,
  settings: { ...DEFAULT_SETTINGS, ...DEFAULT_TIMES },
  transport: 'udp',
  sealed: true,
  peers: [peer],
  refused: 1,
  refusals: { certificate: 1 },
  lastRefused: null,
  datagrams: { damaged: 4 },
  trackers: [
    {
      ...{ dcId: 5, inquiries: 9, found: 6, absent: 2, unreachable: 1, stale: 3, conflicts: 4 },
      ...{ queriesSent: 11, queriesReceived: 12, queriesIgnored: 13 },
      ...{ answersSent: 14, answersReceived: 15, answersLate: 16 },
    },
  ],
};

const text = exposition(
  'lab "x"',
  [
    { node: 0, state: 'up', stats },
    { node: 2, state: 'down', stats: null },
  ],
  [{ id: 5, name: 'mol' }],
);
const lines = text.trimEnd().split('\n');
const samples = lines.filter((line) => !line.startsWith('#'));

describe('the exposition', () => {
  it('has samples of the right form, all of a metric together and described before', () => {
    const described = new Map<string, number>();
    lines.forEach((line, at) => {
      const [, name] = /^# TYPE dvk_proxy_(\w+) (?:counter|gauge)$/.exec(line) ?? [];
      if (name === undefined) return;
      expect(described.has(name)).toBe(false);
      expect(lines[at - 1]).toMatch(new RegExp(`^# HELP dvk_proxy_${name} \\S`));
      described.set(name, at);
    });
    let last = '';
    for (const line of lines) {
      if (line.startsWith('#')) {
        if (line.startsWith('# TYPE')) last = line.split(' ')[2] ?? '';
        continue;
      }
      expect(line).toMatch(SAMPLE);
      expect(line.startsWith(`${last}{`)).toBe(true);
    }
    expect(text.endsWith('\n')).toBe(true);
    expect(new Set(samples.map((line) => line.replace(/ \S+$/, ''))).size).toBe(samples.length);
  });

  it('has counters that end in _total, and nothing else that does', () => {
    for (const line of lines.filter((one) => one.startsWith('# TYPE'))) {
      expect(line.endsWith('_total counter') || !/_total|counter/.test(line)).toBe(true);
    }
  });

  it('says who, in base units', () => {
    const at = 'dvs="lab \\"x\\"",node="0"';
    expect(samples).toContain(`dvk_proxy_up{${at}} 1`);
    expect(samples).toContain(`dvk_proxy_up{dvs="lab \\"x\\"",node="2"} 0`);
    expect(samples).toContain(
      `dvk_proxy_commands_total{${at},peer="1",dc="mol",kind="SNDREC_MSG",direction="sent"} 7`,
    );
    expect(samples).toContain(`dvk_proxy_bytes_total{${at},peer="1",direction="sent"} ${2 ** 40}`);
    expect(samples).toContain(`dvk_proxy_rtt_seconds{${at},peer="1",transport="udp"} 0.00025`);
    const place = `${at},peer="1",path="spare",transport="tcp"`;
    expect(samples).toContain(`dvk_proxy_path_carries{${place}} 1`);
    expect(samples).toContain(`dvk_proxy_path_rtt_seconds{${place}} 0.0005`);
    expect(samples.join('\n')).not.toContain('packet_timeouts');
  });

  it('has the names of docs/operation.md, and no others', () => {
    const known = new Set(
      [
        ...exposition('x', [{ node: 0, state: 'up', stats: withTimeouts() }], []).matchAll(
          /^# TYPE (\w+)/gm,
        ),
      ].map(([, name]) => name),
    );
    const page = readFileSync(join(import.meta.dirname, '../../../docs/operation.md'), 'utf8');
    const listed = new Set([...page.matchAll(/^\| `(dvk_proxy_\w+)`/gm)].map(([, name]) => name));

    expect([...listed].sort()).toEqual([...known].sort());
  });
});

function withTimeouts(): EngineStatistics {
  return { ...stats, peers: [{ ...peer, quality: { ...peer.quality!, timeouts: 1 } }] };
}

describe('a number for people', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [123_456, '123 kB'],
    [2 ** 53, '9.0 PB'],
    [1e21, '1000000 PB'],
  ])('%d is short', (value, expected) => {
    expect(short(value, 'B')).toBe(expected);
  });
});
