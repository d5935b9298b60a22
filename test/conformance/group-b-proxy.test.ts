// Group B of section 20 of the notes on the authors' work: the programs of section 14.1 in which
// one process plays both proxies, each by its name. Method: the other node is not there at all; the
// test writes its commands by hand, and reads those of this node. Two nodes that are there, each
// command and each error between them are in group-b-commands.test.ts and group-b-copies.test.ts.
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandKind, ErrorNumber } from '../../src/dvk/abi/abi.gen.ts';
import { ANY, makeEndpoint, nodeId, slotOf, type Process } from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { pattern } from '../support/dc-member.ts';
import { PseudoNode } from '../support/pseudo-node.ts';

const { ACK } = CommandKind;
const SLOT = 10;
/** A server of node 1. */
const REMOTE = makeEndpoint(20);
/** A client of node 1, in one of its dynamic slots; nobody has told of it. */
const CLIENT = makeEndpoint(130);
const BODY = { type: 6, numbers: [7, 8, 9] };

let node: PseudoNode;
let local: Process;
beforeEach(() => {
  node = new PseudoNode();
  local = node.segment.bind({ name: 'local', level: 'server', slot: SLOT });
  node.segment.bindRemote(REMOTE, nodeId(1), 'server', 'remote');
});
afterEach(async () => {
  await node.remove();
});

/** Fields of a command between the remote process and the local one. */
const inwards = (): { source: number; destination: number } => ({
  source: REMOTE,
  destination: local.endpoint,
});

describe('messages by hand', () => {
  it('20.B test_proxy_s: a send comes out as SEND_MSG, and ends with SEND_ACK', async () => {
    local.message.type = BODY.type;
    local.message.int32.set(BODY.numbers, 2);
    const sent = codeOf(() => local.send(REMOTE));
    const found = await node.take(1);
    const { callId = 0 } = found.fields;

    expect(found).toMatchObject(BODY);
    expect(found.fields).toMatchObject({
      kind: CommandKind.SEND_MSG,
      source: local.endpoint,
      destination: REMOTE,
      sourceNode: 0,
      destinationNode: 1,
    });
    expect(node.put(1, { ...inwards(), kind: CommandKind.SEND_MSG | ACK, callId })).toBe(0);
    expect(await sent).toBe('none');
  });

  it('20.B test_proxy_r, test_proxy6: a receive takes SEND_MSG; SEND_ACK is out', async () => {
    const received = local.receive(ANY);
    const send = { ...inwards(), kind: CommandKind.SEND_MSG, callId: 4 };
    expect(node.put(1, send, BODY)).toBe(0);
    await received;

    expect([local.message.source, local.message.type]).toEqual([REMOTE, BODY.type]);
    expect((await node.take(1)).fields).toMatchObject({
      kind: CommandKind.SEND_MSG | ACK,
      source: local.endpoint,
      destination: REMOTE,
      result: 0,
      callId: 4,
    });
  });

  it('20.B test_proxy_sr, test_proxy5: the reply is what ends a sendrec', async () => {
    const call = codeOf(() => local.sendrec(REMOTE));
    const { fields } = await node.take(1);
    const callId = fields['callId'] ?? 0;
    // The authors' older proxies acknowledged the request too; here that answers nothing.
    expect(node.put(1, { ...inwards(), kind: CommandKind.SEND_MSG | ACK, callId })).toBe(0);
    expect(node.segment.process(SLOT)?.state).toBe('remote');
    expect(node.put(1, { ...inwards(), kind: CommandKind.REPLY_MSG, callId }, BODY)).toBe(0);

    expect(fields).toMatchObject({ kind: CommandKind.SNDREC_MSG });
    expect(await call).toBe('none');
    expect([local.message.source, local.message.type]).toEqual([REMOTE, BODY.type]);
    expect(node.peek(1)).toBeUndefined();
  });

  it('20.B test_proxy_n: a notify comes out as NTFY_MSG, and waits for nothing', async () => {
    local.notify(REMOTE);

    expect((await node.take(1)).fields).toMatchObject({
      kind: CommandKind.NTFY_MSG,
      source: local.endpoint,
      destination: REMOTE,
    });
    expect(node.segment.process(SLOT)?.state).toBe('running');
  });

  it('20.B test_proxy_n1, test_proxy4: NTFY_MSG ends a receive, and has no answer', async () => {
    const received = local.receive(ANY);
    expect(node.put(1, { ...inwards(), kind: CommandKind.NTFY_MSG })).toBe(0);
    await received;

    expect([local.message.source, local.lastKind]).toEqual([REMOTE, 'notify']);
    expect(node.peek(1)).toBeUndefined();
  });

  it('20.B test_proxy3: a remote notification that is pending goes with its receiver', () => {
    expect(node.put(1, { ...inwards(), kind: CommandKind.NTFY_MSG })).toBe(0);
    local.unbind();
    const next = node.segment.bind({ name: 'next', level: 'server', slot: SLOT });

    expect(next.receiveRaw(ANY, 0)).toBe(-11);
    expect(node.peek(1)).toBeUndefined();
  });
});

describe('copies by hand', () => {
  const GRANT = 3;
  const place = { endpoint: REMOTE, grant: GRANT, at: 0 };

  it('20.B test_proxy_vcopy1: to a remote process by COPYIN_DATA and COPYIN_ACK', async () => {
    const requester = await node.member({ slot: 11 });
    await requester.order({ do: 'fill', bytes: 900, seed: 1 });
    const copied = requester.order({ do: 'vcopy', from: 'own', to: place, bytes: 900 });
    const { fields, data } = await node.take(1);
    const answer = { source: REMOTE, destination: requester.endpoint, result: 900 };

    expect(fields).toMatchObject({ kind: CommandKind.COPYIN_DATA, payloadBytes: 900 });
    expect(Buffer.from(data).equals(pattern(900, 1))).toBe(true);
    const { callId = 0 } = fields;
    node.put(1, { ...answer, kind: CommandKind.COPYIN_DATA | ACK, callId });
    expect(await copied).toMatchObject({ bytes: 900 });
  });

  it('20.B test_proxy_vcopy2: from a remote process by COPYOUT_RQST and COPYOUT_DATA', async () => {
    const requester = await node.member({ slot: 11 });
    await requester.order({ do: 'fill', bytes: 900, seed: 1 });
    const copied = requester.order({ do: 'vcopy', from: place, to: 'own', bytes: 900 });
    const { fields } = await node.take(1);
    const answer = { source: REMOTE, destination: requester.endpoint, result: 900 };

    expect(fields).toMatchObject({ kind: CommandKind.COPYOUT_RQST, payloadBytes: 0 });
    const { callId = 0 } = fields;
    const kind = CommandKind.COPYOUT_RQST | ACK;
    node.put(1, { ...answer, kind, callId }, { data: pattern(900, 2) });
    expect(await copied).toMatchObject({ bytes: 900 });
    const expected = createHash('sha256').update(pattern(900, 2)).digest('hex');
    expect(await requester.order({ do: 'hash' })).toBe(expected);
  });

  it('20.B test_proxy_vcopy3: COPYIN_DATA writes to a grant; COPYIN_ACK is out', async () => {
    const memory = new Uint8Array(100);
    const grant = local.grant(memory, 'write', REMOTE);
    const result = node.put(
      1,
      {
        ...inwards(),
        kind: CommandKind.COPYIN_DATA,
        callId: 8,
        requester: REMOTE,
        requesterNode: 1,
        copySource: REMOTE,
        copyDestination: local.endpoint,
        copyDestinationGrant: grant,
        copyDestinationAt: 10,
        copyBytes: 50,
      },
      { data: pattern(50, 3) },
    );

    expect(result).toBe(0);
    expect(Buffer.from(memory.subarray(10, 60)).equals(pattern(50, 3))).toBe(true);
    expect((await node.take(1)).fields).toMatchObject({
      kind: CommandKind.COPYIN_DATA | ACK,
      destination: REMOTE,
      result: 50,
      callId: 8,
    });
  });

  it('20.B test_proxy_vcopy4: COPYOUT_RQST of a local grant brings COPYOUT_DATA out', async () => {
    const grant = local.grant(pattern(100, 4), 'read', REMOTE);
    const result = node.put(1, {
      ...inwards(),
      kind: CommandKind.COPYOUT_RQST,
      callId: 9,
      requester: REMOTE,
      requesterNode: 1,
      copySource: local.endpoint,
      copySourceGrant: grant,
      copySourceAt: 20,
      copyDestination: REMOTE,
      copyBytes: 80,
    });
    const { fields, data } = await node.take(1);

    expect(result).toBe(0);
    expect(fields).toMatchObject({
      kind: CommandKind.COPYOUT_RQST | ACK,
      destination: REMOTE,
      result: 80,
      callId: 9,
    });
    expect(Buffer.from(data).equals(pattern(100, 4).subarray(20))).toBe(true);
  });
});

describe('errors by hand', () => {
  it('20.B c_rcode of an ack is what the local call ends with', async () => {
    const ends: string[] = [];
    for (const [kind, call] of [
      [CommandKind.SEND_MSG, () => local.send(REMOTE)],
      [CommandKind.SNDREC_MSG, () => local.sendrec(REMOTE)],
    ] as const) {
      const ended = codeOf(call);
      const { callId = 0 } = (await node.take(1)).fields;
      const result = -ErrorNumber.EDSTDIED;
      expect(node.put(1, { ...inwards(), kind: kind | ACK, callId, result })).toBe(0);
      ends.push(await ended);
    }

    expect(ends).toEqual(['EDSTDIED', 'EDSTDIED']);
  });

  it('20.B c_rcode says what was wrong with a command for a process', async () => {
    const free = makeEndpoint(12);
    const { SEND_MSG, SNDREC_MSG, COPYIN_DATA, COPYOUT_RQST } = CommandKind;
    const copy = {
      requester: REMOTE,
      requesterNode: 1,
      copySource: local.endpoint,
      copyDestination: local.endpoint,
      copySourceGrant: 5,
      copyDestinationGrant: 5,
    };
    const codes: (number | undefined)[] = [];
    for (const fields of [
      { kind: SEND_MSG, destination: free },
      { kind: SNDREC_MSG, destination: free },
      { kind: COPYIN_DATA, ...copy },
      { kind: COPYOUT_RQST, ...copy, copyDestination: REMOTE, copyBytes: 1 },
    ]) {
      expect(node.put(1, { ...inwards(), ...fields })).toBe(0);
      const answer = (await node.take(1)).fields;
      expect(answer['kind']).toBe(fields.kind | ACK);
      codes.push(answer['result']);
    }

    const { EDEADSRCDST, EDVSGRANT } = ErrorNumber;
    expect(codes).toEqual([-EDEADSRCDST, -EDEADSRCDST, -EDVSGRANT, -EDVSGRANT]);
  });

  it('20.B REPLY_MSG that nobody waits for is answered by REPLY_ACK', async () => {
    expect(node.put(1, { ...inwards(), kind: CommandKind.REPLY_MSG, callId: 3 }, BODY)).toBe(0);

    expect((await node.take(1)).fields).toMatchObject({
      kind: CommandKind.REPLY_MSG | ACK,
      destination: REMOTE,
      result: -ErrorNumber.EDVSPROCSTS,
    });
  });
});

describe('descriptors by hand', () => {
  const send = (source: number): { kind: number; source: number; destination: number } => ({
    kind: CommandKind.SEND_MSG,
    source,
    destination: local.endpoint,
  });

  it('20.B autobind: a source that is not bound here is bound by its first command', async () => {
    expect(node.segment.isBound(CLIENT)).toBe(false);
    expect(node.put(1, send(CLIENT), BODY)).toBe(0);
    local.receiveSync(ANY, 0);

    expect(local.message.source).toBe(CLIENT);
    expect((await node.take(1)).fields).toMatchObject({ destination: CLIENT, result: 0 });
    expect(node.segment.process(slotOf(CLIENT))).toMatchObject({
      name: 'rclient',
      life: 'remote',
      node: 1,
    });
  });

  it('20.B autobind: a next owner of the slot replaces the former one', async () => {
    node.put(1, send(CLIENT), BODY);
    const next = makeEndpoint(130, 1);
    expect(node.put(1, send(next), BODY)).toBe(0);
    local.receiveSync(ANY, 0);

    expect(local.message.source).toBe(next);
    expect(local.receiveRaw(ANY, 0)).toBe(-11);
    expect((await node.take(1)).fields).toMatchObject({ destination: next });
    expect(node.segment.isBound(CLIENT)).toBe(false);
  });

  it('20.B NONODE: a slot of another node is refused without an answer', async () => {
    expect(node.put(2, send(REMOTE), BODY)).toBe(-ErrorNumber.EDVSSLOTUSED);
    expect([node.peek(1), node.peek(2)]).toEqual([undefined, undefined]);
    expect(local.receiveRaw(ANY, 0)).toBe(-11);

    node.segment.unbindRemote(REMOTE);
    expect(node.put(2, send(REMOTE), BODY)).toBe(0);
    local.receiveSync(ANY, 0);
    expect((await node.take(2)).fields).toMatchObject({ destination: REMOTE, result: 0 });
  });

  it('20.B ENDPOINT: a slot of a process of this node is refused without an answer', () => {
    const other = makeEndpoint(SLOT, 9);
    expect(node.put(1, send(other), BODY)).toBe(-ErrorNumber.EDVSSLOTUSED);

    expect(node.peek(1)).toBeUndefined();
    expect(local.receiveRaw(ANY, 0)).toBe(-11);
  });

  it("20.B a slot beyond the node's share is refused without an answer", () => {
    expect(node.put(2, send(CLIENT), BODY)).toBe(-ErrorNumber.EDVSBADFRAME);

    expect([node.peek(1), node.peek(2)]).toEqual([undefined, undefined]);
  });
});
