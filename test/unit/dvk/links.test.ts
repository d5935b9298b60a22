// The proxy's side of the queue. Method: two segments, nodes 0 and 1 of one DC; the test is the
// proxy pair, and carries commands from one to the other when it chooses.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  CommandKind,
  CommandLayout,
  isDvkError,
  Limit,
  nodeId,
  type Process,
  type Segment,
} from '../../../src/dvk/index.ts';
import { TestSegment } from '../../support/segments.ts';

const N0 = nodeId(0);
const N1 = nodeId(1);

async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
  return 'none';
}

const command = new Uint8Array(CommandLayout.BYTES);
const payload = new Uint8Array(Limit.COPY_CHUNK_BYTES);
const view = new DataView(command.buffer);

/** Carries what waits in one direction; returns the kinds of the commands. */
function carry(from: Segment, to: Segment): number[] {
  const kinds: number[] = [];
  while (from.get2rmt(to.nodeId, command, payload)) {
    kinds.push(view.getUint32(CommandLayout.kind, true));
    const bytes = view.getUint32(CommandLayout.payloadBytes, true);
    expect(to.put2lclRaw(from.nodeId, command, payload.subarray(0, bytes))).toBe(0);
  }
  return kinds;
}

describe('two nodes', () => {
  let left: TestSegment;
  let right: TestSegment;
  let client: Process;
  let server: Process;
  beforeEach(() => {
    left = new TestSegment({ nodeId: N0 });
    right = new TestSegment({ nodeId: N1 });
    left.segment.addNode(N1, 'n1');
    right.segment.addNode(N0, 'n0');
    client = left.segment.bind({ name: 'client' });
    server = right.segment.bind({ name: 'server', slot: 5, level: 'server' });
  });
  afterEach(() => {
    left.remove();
    right.remove();
  });

  function connect(onWork: () => void = () => undefined): void {
    left.segment.attachProxy(N1, onWork);
    right.segment.attachProxy(N0, () => undefined);
    left.segment.linkUp(N1, 1);
    right.segment.linkUp(N0, 1);
    carry(right.segment, left.segment);
    carry(left.segment, right.segment);
  }

  it('learn of servers when the link comes up', () => {
    expect(left.segment.isBound(server.endpoint)).toBe(false);
    connect();

    expect(left.segment.isBound(server.endpoint)).toBe(true);
    expect(left.segment.links()).toMatchObject([{ node: 0 }, { node: 1, state: 'up', session: 1 }]);
  });

  it('carry a request and its reply', async () => {
    connect();
    const request = server.rcvrqst();
    client.message.type = 11;
    const call = client.sendrec(server.endpoint);

    expect(carry(left.segment, right.segment)).toContain(CommandKind.SNDREC_MSG);
    await request;
    expect(server.message.type).toBe(11);
    expect(server.message.source).toBe(client.endpoint);
    server.message.type = 12;
    server.replySync(client.endpoint);
    expect(carry(right.segment, left.segment)).toContain(CommandKind.REPLY_MSG);
    await call;
    expect(client.message.type).toBe(12);
  });

  it('tell the proxy of work after it armed', async () => {
    let wakes = 0;
    let worked: (() => void) | undefined;
    connect(() => {
      wakes++;
      worked?.();
    });
    while (left.segment.armProxy(N1)) carry(left.segment, right.segment);
    const seen = new Promise<void>((resolve) => {
      worked = resolve;
    });
    client.notify(server.endpoint);
    await seen;

    expect(wakes).toBeGreaterThan(0);
    expect(left.segment.armProxy(N1)).toBe(true);
    expect(carry(left.segment, right.segment)).toEqual([CommandKind.NTFY_MSG]);
    expect(server.receiveRaw(ANY, 0)).toBe(0);
    left.segment.detachProxy(N1);
  });

  it('end calls with ENOTCONN when the link goes down, and refuse new ones', async () => {
    connect();
    const call = codeOf(() => client.sendrec(server.endpoint));
    left.segment.linkDown(N1);

    expect(await call).toBe('ENOTCONN');
    expect(await codeOf(() => client.send(server.endpoint))).toMatch(/ENOTCONN|EDEADSRCDST/);
  });

  it('refuse frames that are malformed', () => {
    connect();
    command.fill(0xff);
    expect(left.segment.put2lclRaw(N1, command, payload.subarray(0, 0))).toBe(-302);
    view.setUint32(CommandLayout.dcId, 0, true);
    expect(left.segment.put2lclRaw(N1, command, payload.subarray(0, 0))).toBe(-357);
    expect(left.segment.put2lclRaw(N1, command.subarray(0, 10), payload.subarray(0, 0))).toBe(-357);
    expect(left.segment.put2lclRaw(nodeId(3), command, payload.subarray(0, 0))).toBeLessThan(0);
    expect(left.segment.links()[1]!.dropped).toBeGreaterThan(0);
  });

  it('want buffers of the right size', () => {
    expect(() => left.segment.get2rmt(N1, command.subarray(1), payload)).toThrow(RangeError);
    expect(() => left.segment.get2rmt(N1, command, payload.subarray(1))).toThrow(RangeError);
    expect(() => left.segment.get2rmt(nodeId(77), command, payload)).toThrow(/^EDVSBADNODEID/);
  });
});
