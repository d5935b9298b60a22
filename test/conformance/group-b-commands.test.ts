// The commands between nodes that carry no data, one by one: group B of the conformance list.
// Method: this process is the proxy of every node; it takes each command by get2rmt, looks at it,
// and puts it to the other node by put2lcl.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout, ErrorNumber } from '../../src/dvk/abi/abi.gen.ts';
import { ANY, makeEndpoint, nodeId, type Process } from '../../src/dvk/index.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { command, describeCommand, type CommandFields } from '../support/proxy-frames.ts';

const { ACK } = CommandKind;
const MIB = 1024 * 1024;

let nodes: HandProxies;

beforeEach(() => {
  nodes = new HandProxies(2);
});

afterEach(async () => {
  await nodes.remove();
});

const codeOf = (error: unknown): string => (error as { code: string }).code;

/** The command that `fields` describe, as node `from` would send it to node `to`. */
function crafted(fields: CommandFields, from = 0, to = 1): Uint8Array {
  return command({ dcId: 5, sourceNode: from, destinationNode: to, ...fields });
}

describe('20.B PROCBIND and PROCUNBIND', () => {
  it('make a server known to the other node, and forgotten', () => {
    const bound = nodes.segment(1).bind({ name: 'disk', level: 'server', slot: 11 });

    const up = nodes.settle();
    const known = nodes
      .segment(0)
      .processes()
      .find(({ slot }) => slot === 11);
    bound.unbind();
    const gone = nodes.settle();

    expect(up.map((one) => describeCommand(one.command)['kind'])).toEqual([CommandKind.PROCBIND]);
    expect(known).toMatchObject({ name: 'disk', level: 'server', life: 'remote', node: 1 });
    expect(gone.map((one) => describeCommand(one.command)['kind'])).toEqual([
      CommandKind.PROCUNBIND,
    ]);
    expect(nodes.segment(0).lookup(11)).toBeUndefined();
  });

  it('are told again to a node that connects', () => {
    nodes.server(11);
    nodes.server(12);
    for (const [from, to] of [
      [0, 1],
      [1, 0],
    ] as const)
      nodes.segment(from).linkDown(nodeId(to));
    for (const [from, to] of [
      [0, 1],
      [1, 0],
    ] as const)
      nodes.segment(from).linkUp(nodeId(to), 2);

    const told = nodes.settle().map((one) => describeCommand(one.command));

    expect(told.map(({ kind, source }) => [kind, source])).toEqual([
      [CommandKind.PROCBIND, 11],
      [CommandKind.PROCBIND, 12],
    ]);
  });

  it('give a slot to its next owner only under a new endpoint', () => {
    const first = nodes.server(11);
    first.unbind();
    nodes.settle();
    const second = nodes.server(11);

    expect(second.endpoint).not.toBe(first.endpoint);
    expect(nodes.segment(0).isBound(first.endpoint)).toBe(false);
    expect(nodes.segment(0).isBound(second.endpoint)).toBe(true);
  });

  it('end the calls that wait for the process, with ESRCDIED or EDSTDIED', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    const call = caller.sendrec(target.endpoint).catch(codeOf);
    await nodes.carry(0, 1);

    target.unbind();
    nodes.settle();

    expect(['ESRCDIED', 'EDSTDIED']).toContain(await call);
  });
});

describe('20.B SEND_MSG', () => {
  it('arrives with content and true source, and is acknowledged when received', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    caller.message.type = 77;
    caller.message.int32[15] = -5;
    const sent = caller.send(target.endpoint);
    const { command: taken } = await nodes.carry(0, 1);
    const early = nodes.peek(1, 0);

    await target.receive(caller.endpoint);
    const ack = await nodes.carry(1, 0);
    await sent;

    expect(describeCommand(taken)).toMatchObject({
      kind: CommandKind.SEND_MSG,
      source: caller.endpoint,
      destination: target.endpoint,
      sourceNode: 0,
      destinationNode: 1,
    });
    expect(early).toBeUndefined();
    expect([target.message.source, target.message.type, target.message.int32[15]]).toEqual([
      caller.endpoint,
      77,
      -5,
    ]);
    expect(describeCommand(ack.command)).toMatchObject({
      kind: CommandKind.SEND_MSG | ACK,
      source: target.endpoint,
      destination: caller.endpoint,
      result: 0,
    });
  });

  it('of several senders is received in the order in which it came', async () => {
    const target = nodes.server();
    const callers = Array.from({ length: 5 }, () => nodes.client());
    const sends: Promise<void>[] = [];
    for (const [i, caller] of callers.entries()) {
      caller.message.type = i;
      sends.push(caller.send(target.endpoint));
      await nodes.carry(0, 1);
    }

    const types: number[] = [];
    for (let i = 0; i < 5; i++) {
      await target.receive(ANY);
      types.push(target.message.type);
    }
    nodes.settle();
    await Promise.all(sends);

    expect(types).toEqual([0, 1, 2, 3, 4]);
  });

  it('reaches a receiver that waits for that very source, and no other', async () => {
    const target = nodes.server();
    const [first, second] = [nodes.client(), nodes.client()];
    const received = target.receive(second.endpoint).catch(codeOf);
    nodes.segment(1).bindRemote(second.endpoint, nodeId(0), 'user', 'second');
    const early = await received;
    const again = target.receive(second.endpoint);
    first.message.type = 1;
    second.message.type = 2;
    const sends = [first.send(target.endpoint), second.send(target.endpoint)];

    nodes.settle();
    await again;
    const type = target.message.type;
    await target.receive(ANY);
    nodes.settle();
    await Promise.all(sends);

    expect(early).toBe('EDEADSRCDST');
    expect([type, target.message.type]).toEqual([2, 1]);
  });

  it('to an endpoint that is gone ends with EDEADSRCDST by an ack', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    const sent = caller.send(target.endpoint).catch(codeOf);
    const taken = await nodes.take(0, 1);
    target.unbind();

    nodes.put(0, 1, taken.command);
    const acks = nodes.settle().map((one) => describeCommand(one.command));

    expect(acks.find(({ kind }) => kind === (CommandKind.SEND_MSG | ACK))?.['result']).toBe(
      -ErrorNumber.EDEADSRCDST,
    );
    expect(['EDEADSRCDST', 'EDSTDIED']).toContain(await sent);
  });

  it('that was given up is not received twice when the sender calls again', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    caller.message.type = 1;
    const first = caller.send(target.endpoint, { timeoutMs: 20 }).catch(codeOf);
    await nodes.carry(0, 1);
    const outcome = await first;
    caller.message.type = 2;
    const second = caller.send(target.endpoint);
    await nodes.carry(0, 1);

    await target.receive(ANY);
    nodes.settle();
    await second;
    const more = await target.receive(ANY, { timeoutMs: 0 }).catch(codeOf);

    expect(outcome).toBe('ETIMEDOUT');
    expect(target.message.type).toBe(2);
    expect(more).toBe('EAGAIN');
  });
});

describe('20.B SNDREC_MSG', () => {
  it('is answered by REPLY_MSG, without an ack of its own', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    caller.message.type = 5;
    const call = caller.sendrec(target.endpoint);
    const request = await nodes.carry(0, 1);
    await target.rcvrqst();
    const early = nodes.peek(1, 0);
    target.message.type = 6;
    target.replySync(caller.endpoint);
    const reply = await nodes.carry(1, 0);
    await call;

    expect(describeCommand(request.command)['kind']).toBe(CommandKind.SNDREC_MSG);
    expect(early).toBeUndefined();
    expect(describeCommand(reply.command)).toMatchObject({
      kind: CommandKind.REPLY_MSG,
      source: target.endpoint,
      destination: caller.endpoint,
    });
    expect([caller.message.type, caller.message.source]).toEqual([6, target.endpoint]);
  });

  it('works 1000 times in a row, both ways at once', async () => {
    const [here, there] = [nodes.server(10, 0), nodes.server(11, 1)];
    const [callerHere, callerThere] = [nodes.client(0), nodes.client(1)];
    const serve = async (target: Process): Promise<void> => {
      for (let i = 0; i < 1000; i++) {
        await target.rcvrqst();
        target.message.type *= 2;
        target.replySync(target.message.source);
      }
    };
    const calls = async (caller: Process, target: Process): Promise<number> => {
      let right = 0;
      for (let i = 0; i < 1000; i++) {
        caller.message.type = i;
        await caller.sendrec(target.endpoint);
        if (caller.message.type === 2 * i) right++;
      }
      return right;
    };
    let going = true;
    const carry = async (): Promise<void> => {
      while (going) {
        nodes.settle();
        await new Promise(setImmediate);
      }
    };

    const carried = carry();
    const [, , right, wrong] = await Promise.all([
      serve(here),
      serve(there),
      calls(callerHere, there),
      calls(callerThere, here),
    ]);
    going = false;
    await carried;

    expect([right, wrong]).toEqual([1000, 1000]);
  });

  it('to nobody ends with the error in SNDREC_ACK', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    const call = caller.sendrec(target.endpoint).catch(codeOf);
    const taken = await nodes.take(0, 1);
    const view = new DataView(taken.command.buffer);
    view.setInt32(CommandLayout.destination, makeEndpoint(12), true);

    nodes.put(0, 1, taken.command);
    const ack = await nodes.carry(1, 0);

    expect(describeCommand(ack.command)).toMatchObject({
      kind: CommandKind.SNDREC_MSG | ACK,
      result: -ErrorNumber.EDEADSRCDST,
    });
    expect(await call).toBe('EDEADSRCDST');
  });

  it('takes no late answer for the answer to the next call', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    caller.message.type = 1;
    const first = caller.sendrec(target.endpoint, { timeoutMs: 20 }).catch(codeOf);
    await nodes.carry(0, 1);
    await target.rcvrqst();
    target.message.type = 111;
    target.replySync(target.message.source);
    const late = await nodes.take(1, 0);
    const outcome = await first;
    caller.message.type = 2;
    const second = caller.sendrec(target.endpoint);
    nodes.put(1, 0, late.command);
    nodes.settle();

    await target.rcvrqst();
    target.message.type *= 10;
    target.replySync(target.message.source);
    nodes.settle();
    await second;

    expect(outcome).toBe('ETIMEDOUT');
    expect(caller.message.type).toBe(20);
  });
});

describe('20.B NTFY_MSG', () => {
  it('arrives without an answer, and merges until it is received', async () => {
    const target = nodes.server();
    const caller = nodes.server(12, 0);

    caller.notify(target.endpoint);
    await nodes.carry(0, 1);
    caller.notify(target.endpoint);
    caller.notify(target.endpoint);
    const carried = nodes.settle();
    await target.receive(ANY);
    const [kind, source] = [target.lastKind, target.message.source];
    const more = await target.receive(ANY, { timeoutMs: 0 }).catch(codeOf);

    expect(carried.map((one) => describeCommand(one.command)['kind'])).toEqual([
      CommandKind.NTFY_MSG,
    ]);
    expect([kind, source]).toEqual(['notify', caller.endpoint]);
    expect(more).toBe('EAGAIN');
  });
});

describe('20.B a link that goes down', () => {
  it('ends every call that waits for the other node with ENOTCONN', async () => {
    const target = nodes.server();
    const [sender, caller, late] = [nodes.client(), nodes.client(), nodes.client()];
    const outcomes = [sender.send(target.endpoint), caller.sendrec(target.endpoint)].map(
      async (call) => call.catch(codeOf),
    );
    await nodes.carry(0, 1);
    await nodes.carry(0, 1);
    outcomes.push(late.sendrec(target.endpoint).catch(codeOf));

    nodes.segment(0).linkDown(nodeId(1));

    expect(await Promise.all(outcomes)).toEqual(['ENOTCONN', 'ENOTCONN', 'ENOTCONN']);
    expect(await caller.sendrec(target.endpoint).catch(codeOf)).toBe('ENOTCONN');
  });

  it('takes the requests of the lost node from the queues of this one', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    const call = caller.sendrec(target.endpoint).catch(codeOf);
    await nodes.carry(0, 1);

    nodes.segment(1).linkDown(nodeId(0));
    nodes.segment(0).linkDown(nodeId(1));
    const found = await target.receive(ANY, { timeoutMs: 0 }).catch(codeOf);

    expect(await call).toBe('ENOTCONN');
    expect(found).toBe('EAGAIN');
  });

  it('leaves a server that replies to the lost node unharmed', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    const call = caller.sendrec(target.endpoint).catch(codeOf);
    await nodes.carry(0, 1);
    await target.rcvrqst();
    const { source } = target.message;
    nodes.segment(1).linkDown(nodeId(0));
    nodes.segment(0).linkDown(nodeId(1));

    const outcome = target.replyRaw(source);
    const next = await target.receive(ANY, { timeoutMs: 0 }).catch(codeOf);

    expect(await call).toBe('ENOTCONN');
    expect(outcome).toBeLessThan(0);
    expect(next).toBe('EAGAIN');
  });

  it('gives and takes no commands', async () => {
    const target = nodes.server();
    const caller = nodes.client();
    const call = caller.send(target.endpoint).catch(codeOf);
    const taken = await nodes.take(0, 1);
    nodes.segment(1).linkDown(nodeId(0));

    expect(nodes.put(0, 1, taken.command)).toBe(-107);
    expect(nodes.peek(1, 0)).toBeUndefined();
    nodes.segment(0).linkDown(nodeId(1));
    await call;
  });
});

describe('20.B a malformed command', () => {
  const bad = -ErrorNumber.EDVSBADFRAME;

  it.each<[string, number, CommandFields]>([
    ['of an unknown kind', bad, { kind: 99 }],
    ['of HELLO, which is for proxies', bad, { kind: CommandKind.HELLO }],
    ['of SHUTDOWN', bad, { kind: CommandKind.SHUTDOWN }],
    ['of another DC', -ErrorNumber.EDVSBADDCID, { kind: CommandKind.SEND_MSG, dcId: 6 }],
    ['in the name of another node', bad, { kind: CommandKind.SEND_MSG, sourceNode: 2 }],
    ['for another node', bad, { kind: CommandKind.SEND_MSG, destinationNode: 3 }],
    ['with a length that is not its data', bad, { kind: CommandKind.COPYIN_DATA, payloadBytes: 9 }],
    ['with a source out of range', bad, { kind: CommandKind.SEND_MSG, source: 0x7fff_0000 + 4000 }],
    ['with a copy that is too long', bad, { kind: CommandKind.COPYOUT_RQST, copyBytes: MIB + 1 }],
    ['with a bind in a slot of this node', bad, { kind: CommandKind.PROCBIND, source: 255 }],
    ['with an ack of a request that carries no error', bad, { kind: CommandKind.SNDREC_MSG | ACK }],
  ])('%s is refused', async (_, error, fields) => {
    const target = nodes.server();
    const waiting = nodes.client(1);
    const received = waiting.receive(ANY).catch(codeOf);
    const all = { source: 70, destination: target.endpoint, ...fields };
    if (fields.kind === (CommandKind.SNDREC_MSG | ACK)) all.destination = waiting.endpoint;

    const result = nodes.put(0, 1, crafted(all));

    expect(result).toBe(error);
    expect(
      nodes
        .segment(1)
        .links()
        .find(({ node }) => node === 0)?.dropped,
    ).toBe(1);
    waiting.unbind();
    expect(await received).toBe('ECANCELED');
  });
});
