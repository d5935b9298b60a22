// Leases: whoever was given one is asked for it before others may rely on a change, and nobody is
// waited for longer than a lease lasts. Method: random steps of several clients, each of which
// remembers what it believes, against a table; after each change that nobody waits for any more, no
// client believes anything old. Then the edges: bounds, names, and answers to what was not asked.
import { describe, expect, it } from 'vitest';
import { LeaseTable, type LeaseClient, type Ticket } from '../../../src/servers/fs/leases.ts';
import {
  ALL_KINDS,
  LEASE_MS,
  LeaseKind,
  type Recall,
  decodeRecalls,
  encodeRecalls,
} from '../../../src/vos/protocol/fs-lease.ts';
import { seeded } from '../../support/datagram-network.ts';

const SEED = 20261122;
const { ATTRIBUTES, DATA, NAMES } = LeaseKind;
const KINDS = [ATTRIBUTES, DATA, NAMES] as const;
const INODES = 12;
const CLIENTS = 5;
const limits = { leasesMax: 8, totalMax: 24 };
const always = (): boolean => true;

function join(table: LeaseTable, endpoint: number): LeaseClient {
  const client = table.join(endpoint);
  if (client === undefined) throw new Error('There is no room.');
  return client;
}

/** What the client is told, as a message brings it; it has done all of it. */
function hear(table: LeaseTable, client: LeaseClient): Recall[] {
  const heard: Recall[] = [];
  while (client.recalls.length > 0) {
    const message = new DataView(new ArrayBuffer(64));
    const count = encodeRecalls(message, client.done + 1, client.recalls);
    table.tell(client, count);
    const { number, recalls } = decodeRecalls(message, count);
    heard.push(...recalls);
    expect(table.acknowledge(client, number)).toBe(true);
  }
  return heard;
}

/** A client as the oracle sees it: the versions that it believes, and until when. */
class Believer {
  client: LeaseClient;
  readonly beliefs = new Map<string, { version: number; untilMs: number }>();
  readonly names = new Map<string, { version: number; untilMs: number }>();

  constructor(client: LeaseClient) {
    this.client = client;
  }

  forget({ inode, kinds, name }: Recall): void {
    for (const kind of KINDS) if ((kinds & kind) !== 0) this.beliefs.delete(`${inode}/${kind}`);
    if ((kinds & NAMES) === 0) return;
    for (const key of [...this.names.keys()]) {
      const one = name === undefined ? key.startsWith(`${inode}/`) : key === `${inode}/${name[0]}`;
      if (one) this.names.delete(key);
    }
  }
}

describe('the table of leases', () => {
  it('lets nobody believe what has changed, whatever clients do', () => {
    const random = seeded(SEED);
    const below = (n: number): number => Math.floor(random() * n);
    const table = new LeaseTable(limits);
    const believers = Array.from({ length: CLIENTS }, (_, i) => new Believer(join(table, i + 1)));
    const versions = new Map<string, number>();
    const version = (key: string): number => versions.get(key) ?? 0;
    let nowMs = 0;
    let lapsed = 0;
    let waits: { tickets: Ticket[]; key: string; by: Believer; beganMs: number }[] = [];

    for (let step = 0; step < 4000; step++) {
      const believer = believers[below(CLIENTS)];
      if (believer === undefined) throw new Error('There is no such client.');
      const inode = 2 + below(INODES);
      const kind = KINDS[below(3)] ?? ATTRIBUTES;
      const what = below(10);
      const letter = 97 + below(4);
      if (what < 5) {
        if (!believer.client.lapsed) {
          table.grant(believer.client, inode, kind, nowMs);
          const untilMs = nowMs + LEASE_MS;
          const key = kind === NAMES ? `${inode}/${letter}` : `${inode}/${kind}`;
          const told = kind === NAMES ? believer.names : believer.beliefs;
          told.set(key, { version: version(`${kind}:${key}`), untilMs });
        }
      } else if (what < 7) {
        const key = kind === NAMES ? `${kind}:${inode}/${letter}` : `${kind}:${inode}/${kind}`;
        versions.set(key, version(key) + 1);
        const name = kind === NAMES ? { name: Uint8Array.of(letter) } : {};
        const recall = { inode, kinds: kind, ...name };
        // Who changes something knows it.
        believer.forget(recall);
        const tickets = table.recall(recall, believer.client, nowMs);
        waits.push({ tickets, key, by: believer, beganMs: nowMs });
      } else if (what < 9) {
        if (believer.client.lapsed) {
          believer.beliefs.clear();
          believer.names.clear();
          believer.client = join(table, believer.client.endpoint);
        } else {
          for (const recall of hear(table, believer.client)) believer.forget(recall);
        }
      } else {
        nowMs += below(400);
        table.expire(nowMs, always);
        for (const { client } of believers) if (client.lapsed) lapsed++;
      }

      waits = waits.filter(({ tickets, key, beganMs }) => {
        if (!tickets.every((ticket) => table.isDone(ticket))) {
          expect(nowMs - beganMs).toBeLessThan(LEASE_MS + 400);
          return true;
        }
        for (const { beliefs, names } of believers) {
          const [, id = ''] = key.split(':');
          const belief = (key.startsWith(`${NAMES}:`) ? names : beliefs).get(id);
          if (belief !== undefined && belief.untilMs > nowMs) {
            // A later change of the same may be waited for still.
            const later = waits.some((other) => other.key === key && other.beganMs >= beganMs);
            if (!later) expect(belief.version).toBe(version(key));
          }
        }
        return false;
      });
      expect(table.size).toBeLessThanOrEqual(limits.totalMax);
      for (const { client } of believers) {
        expect(client.held.size).toBeLessThanOrEqual(limits.leasesMax);
      }
    }
    expect(lapsed).toBeGreaterThan(0);
    expect(table.counters.evicted).toBeGreaterThan(0);
    expect(table.counters.recalled).toBeGreaterThan(300);
  });

  it('recalls one name and leaves the others, or all when there are many or a long one', () => {
    const table = new LeaseTable();
    const client = join(table, 1);
    const recall = (name: Uint8Array): Ticket[] =>
      table.recall({ inode: 5, kinds: NAMES | ATTRIBUTES, name }, undefined, 0);
    table.grant(client, 5, NAMES, 0);
    expect(recall(Uint8Array.of(97))).toHaveLength(1);
    expect(client.held.get(5)).toBe(NAMES);
    expect(hear(table, client)).toEqual([{ inode: 5, kinds: NAMES, name: Uint8Array.of(97) }]);
    expect(recall(new Uint8Array(41).fill(97))).toHaveLength(1);
    expect(hear(table, client)).toEqual([{ inode: 5, kinds: NAMES }]);
    expect(recall(Uint8Array.of(97))).toEqual([]);
    table.grant(client, 5, NAMES, 0);
    for (let i = 0; i < 1000; i++) recall(Uint8Array.of(97));
    expect(client.recalls.length).toBeLessThan(300);
  });

  it('waits neither for who asks, nor for who is gone or late', () => {
    const table = new LeaseTable();
    const [one, two, three] = [join(table, 1), join(table, 2), join(table, 3)];
    for (const client of [one, two, three]) table.grant(client, 9, ALL_KINDS, 0);
    const tickets = table.recall({ inode: 9, kinds: DATA }, one, 100);
    expect(tickets.map(({ client }) => client.endpoint)).toEqual([2, 3]);
    expect(table.deadlineMs).toBe(100 + LEASE_MS);
    table.expire(100, (endpoint) => endpoint !== 2);
    expect(tickets.map((ticket) => table.isDone(ticket))).toEqual([true, false]);
    table.expire(100 + LEASE_MS, always);
    expect(tickets.map((ticket) => table.isDone(ticket))).toEqual([true, true]);
    expect([three.lapsed, table.deadlineMs, table.counters.lapsed]).toEqual([true, Infinity, 1]);
    table.grant(three, 10, DATA, 0);
    expect(table.size).toBe(1);
  });

  it('refuses answers to what was never told', () => {
    const table = new LeaseTable();
    const client = join(table, 1);
    table.grant(client, 9, DATA, 0);
    table.grant(client, 10, DATA, 0);
    table.recall({ inode: 9, kinds: DATA }, undefined, 0);
    table.recall({ inode: 10, kinds: DATA }, undefined, 0);
    expect(table.acknowledge(client, 1)).toBe(false);
    table.tell(client, 1);
    expect(table.acknowledge(client, 2)).toBe(false);
    expect(table.acknowledge(client, 1)).toBe(true);
    expect(table.acknowledge(client, 0)).toBe(false);
    expect([client.recalls.length, table.counters.refused]).toEqual([1, 3]);
  });
});
