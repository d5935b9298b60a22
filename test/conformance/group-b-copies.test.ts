// The commands between nodes that copy, one by one: group B of the conformance list. Method: as for
// the other commands, see group-b-commands.test.ts; who asks for a copy blocks, so it is a child
// process.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout, ErrorNumber } from '../../src/dvk/abi/abi.gen.ts';
import { ANY, nodeId } from '../../src/dvk/index.ts';
import { pattern } from '../support/dc-member.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { describeCommand } from '../support/proxy-frames.ts';

const { ACK } = CommandKind;
const MIB = 1024 * 1024;

let nodes: HandProxies;

beforeEach(() => {
  nodes = new HandProxies(2);
});

afterEach(async () => {
  await nodes.remove();
});

const messageOf = (error: unknown): string => (error as Error).message;

describe('20.B COPYIN_DATA', () => {
  it('writes to a grant of the other node, and COPYIN_ACK carries the bytes', async () => {
    const target = nodes.server();
    const memory = new Uint8Array(1000);
    const grant = target.grant(memory, 'write', ANY);
    const source = await nodes.member(0);
    await source.order({ do: 'fill', bytes: 900, seed: 4 });

    const copied = source.order<{ bytes: number }>({
      do: 'vcopy',
      from: 'own',
      to: { endpoint: target.endpoint, grant, at: 50 },
      bytes: 900,
    });
    const data = await nodes.carry(0, 1);
    const ack = await nodes.carry(1, 0);

    expect(describeCommand(data.command)).toMatchObject({
      kind: CommandKind.COPYIN_DATA,
      payloadBytes: 900,
    });
    expect(describeCommand(ack.command)).toMatchObject({
      kind: CommandKind.COPYIN_DATA | ACK,
      result: 900,
    });
    expect((await copied).bytes).toBe(900);
    expect(Buffer.from(memory.subarray(50, 950)).equals(pattern(900, 4))).toBe(true);
  });

  it('moves 3 MiB and a half in commands of at most 1 MiB', async () => {
    const bytes = 3.5 * MIB;
    const target = nodes.server();
    const memory = new Uint8Array(bytes);
    const grant = target.grant(memory, 'write', ANY);
    const source = await nodes.member(0);
    await source.order({ do: 'fill', bytes, seed: 1 });

    const to = { endpoint: target.endpoint, grant, at: 0 };
    const copied = source.order<{ bytes: number }>({ do: 'vcopy', from: 'own', to, bytes });
    const sizes: number[] = [];
    for (let moved = 0; moved < bytes;) {
      const { payload } = await nodes.carry(0, 1);
      sizes.push(payload.length);
      moved += payload.length;
      await nodes.carry(1, 0);
    }

    expect((await copied).bytes).toBe(bytes);
    expect(sizes).toEqual([MIB, MIB, MIB, MIB / 2]);
    expect(Buffer.from(memory).equals(pattern(bytes, 1))).toBe(true);
  });

  it.each([
    ['without a grant', 'none', 'EDVSGRANT'],
    ['against the direction of the grant', 'read', 'EDVSGRANT'],
    ['beyond the end of the grant', 'short', 'EDVSGRANT'],
  ] as const)('%s ends with the error in the ack', async (_, how, code) => {
    const target = nodes.server();
    const memory = new Uint8Array(how === 'short' ? 99 : 100);
    const grant = how === 'none' ? 9 : target.grant(memory, how === 'read' ? 'read' : 'write', ANY);
    const source = await nodes.member(0);
    await source.order({ do: 'fill', bytes: 100, seed: 4 });

    const to = { endpoint: target.endpoint, grant, at: 0 };
    const copied = source.order({ do: 'vcopy', from: 'own', to, bytes: 100 }).catch(messageOf);
    await nodes.carry(0, 1);
    await nodes.carry(1, 0);

    expect(await copied).toBe(code);
    expect(memory.every((byte) => byte === 0)).toBe(true);
  });
});

describe('20.B COPYOUT_RQST', () => {
  it('is answered by COPYOUT_DATA', async () => {
    const target = nodes.server();
    const memory = pattern(5000, 8);
    const grant = target.grant(memory, 'read', ANY);
    const reader = await nodes.member(0);
    await reader.order({ do: 'fill', bytes: 5000, seed: 0 });

    const from = { endpoint: target.endpoint, grant, at: 0 };
    const copied = reader.order<{ bytes: number }>({ do: 'vcopy', from, to: 'own', bytes: 5000 });
    const request = await nodes.carry(0, 1);
    const data = await nodes.carry(1, 0);
    await copied;

    expect(describeCommand(request.command)).toMatchObject({
      kind: CommandKind.COPYOUT_RQST,
      payloadBytes: 0,
    });
    expect(describeCommand(data.command)).toMatchObject({
      kind: CommandKind.COPYOUT_RQST | ACK,
      result: 5000,
      payloadBytes: 5000,
    });
    expect(Buffer.from(data.payload).equals(memory)).toBe(true);
  });

  it('that no grant covers is answered by the error, without data', async () => {
    const target = nodes.server();
    const reader = await nodes.member(0);
    await reader.order({ do: 'fill', bytes: 100, seed: 0 });

    const from = { endpoint: target.endpoint, grant: 3, at: 0 };
    const copied = reader.order({ do: 'vcopy', from, to: 'own', bytes: 100 }).catch(messageOf);
    await nodes.carry(0, 1);
    const data = await nodes.carry(1, 0);

    expect(describeCommand(data.command)).toMatchObject({
      kind: CommandKind.COPYOUT_RQST | ACK,
      result: -ErrorNumber.EDVSGRANT,
      payloadBytes: 0,
    });
    expect(await copied).toBe('EDVSGRANT');
  });

  it('whose answer has more data than was asked for writes nothing', async () => {
    const target = nodes.server();
    const grant = target.grant(pattern(100, 1), 'read', ANY);
    const reader = await nodes.member(0);
    await reader.order({ do: 'fill', bytes: 100, seed: 77 });
    const before = await reader.order<string>({ do: 'hash' });

    const from = { endpoint: target.endpoint, grant, at: 0 };
    const copied = reader.order({ do: 'vcopy', from, to: 'own', bytes: 100 }).catch(messageOf);
    await nodes.carry(0, 1);
    const data = await nodes.take(1, 0);
    const view = new DataView(data.command.buffer);
    view.setUint32(CommandLayout.payloadBytes, 5000, true);
    view.setInt32(CommandLayout.result, 5000, true);
    nodes.put(1, 0, data.command, new Uint8Array(5000).fill(1));

    expect(await copied).toBe('EDVSBADFRAME');
    expect(await reader.order<string>({ do: 'hash' })).toBe(before);
  });
});

describe('20.B COPYLCL_RQST', () => {
  it('copies between two processes of the other node', async () => {
    const [from, to] = [nodes.server(10), nodes.server(11)];
    const source = pattern(3000, 2);
    const target = new Uint8Array(3000);
    const read = from.grant(source, 'read', ANY);
    const write = to.grant(target, 'write', ANY);
    const requester = await nodes.member(0, { slot: 20 });

    const copied = requester.order<{ bytes: number }>({
      do: 'vcopy',
      from: { endpoint: from.endpoint, grant: read, at: 0 },
      to: { endpoint: to.endpoint, grant: write, at: 0 },
      bytes: 3000,
    });
    const request = await nodes.carry(0, 1);
    const ack = await nodes.carry(1, 0);

    expect(describeCommand(request.command)).toMatchObject({ kind: CommandKind.COPYLCL_RQST });
    expect(describeCommand(ack.command)).toMatchObject({
      kind: CommandKind.COPYLCL_RQST | ACK,
      result: 3000,
      payloadBytes: 0,
    });
    expect((await copied).bytes).toBe(3000);
    expect(Buffer.from(target).equals(source)).toBe(true);
  });
});

describe('20.B COPYRMT_RQST', () => {
  beforeEach(async () => {
    await nodes.remove();
    nodes = new HandProxies(3);
  });

  it('has the source node send the data, and the destination node acknowledge it', async () => {
    const [from, to] = [nodes.server(10, 1), nodes.server(11, 2)];
    const source = pattern(2000, 6);
    const target = new Uint8Array(2000);
    const read = from.grant(source, 'read', ANY);
    const write = to.grant(target, 'write', ANY);
    const requester = await nodes.member(0, { slot: 20 });

    const copied = requester.order<{ bytes: number }>({
      do: 'vcopy',
      from: { endpoint: from.endpoint, grant: read, at: 0 },
      to: { endpoint: to.endpoint, grant: write, at: 0 },
      bytes: 2000,
    });
    const request = await nodes.carry(0, 1);
    const data = await nodes.carry(1, 2);
    const ack = await nodes.carry(2, 0);

    const kinds = [request, data, ack].map((one) => describeCommand(one.command)['kind']);
    expect(kinds).toEqual([
      CommandKind.COPYRMT_RQST,
      CommandKind.COPYIN_RQST,
      CommandKind.COPYRMT_RQST | ACK,
    ]);
    expect((await copied).bytes).toBe(2000);
    expect(Buffer.from(target).equals(source)).toBe(true);
  });

  it('fails by an ack of the source node when it cannot reach the destination node', async () => {
    const [from, to] = [nodes.server(10, 1), nodes.server(11, 2)];
    const read = from.grant(pattern(100, 6), 'read', ANY);
    const write = to.grant(new Uint8Array(100), 'write', ANY);
    const requester = await nodes.member(0, { slot: 20 });
    nodes.segment(1).linkDown(nodeId(2));

    const copied = requester
      .order({
        do: 'vcopy',
        from: { endpoint: from.endpoint, grant: read, at: 0 },
        to: { endpoint: to.endpoint, grant: write, at: 0 },
        bytes: 100,
      })
      .catch(messageOf);
    await nodes.carry(0, 1);
    await nodes.carry(1, 0);

    expect(await copied).toBe('ENOTCONN');
  });
});

describe('20.B a copy', () => {
  it('ends with ENOTCONN when the link goes down on the way', async () => {
    const target = nodes.server();
    const grant = target.grant(new Uint8Array(4 * MIB), 'write', ANY);
    const source = await nodes.member(0);
    await source.order({ do: 'fill', bytes: 4 * MIB, seed: 4 });
    const to = { endpoint: target.endpoint, grant, at: 0 };
    const copied = source.order({ do: 'vcopy', from: 'own', to, bytes: 4 * MIB }).catch(messageOf);
    await nodes.carry(0, 1);
    await nodes.carry(1, 0);
    await nodes.take(0, 1);

    nodes.segment(0).linkDown(nodeId(1));

    expect(await copied).toBe('ENOTCONN');
  });
});
