// Section 21 of the notes on the authors' work: the defects found in it, a test for each that shows
// that they are not here. Rows about parts that this project has not yet come with those parts, see
// docs/conformance.md. Method: processes of one event loop; for another node, commands written by
// hand.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DaemonClient, serve } from '../../src/cli/channel.ts';
import { CommandKind, CommandLayout, ErrorNumber } from '../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../src/dvk/crc32c.ts';
import {
  ANY,
  errorName,
  generationOf,
  KERNEL,
  makeEndpoint,
  nodeId,
  peersIn,
  Segment,
  SELF,
  slotOf,
  type Process,
} from '../../src/dvk/index.ts';
import { FrameDecoder, FrameLayout } from '../../src/proxies/frame.ts';
import { codeOf } from '../support/codes.ts';
import { pattern } from '../support/dc-member.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { frameBytes } from '../support/proxy-frames.ts';
import { PseudoNode } from '../support/pseudo-node.ts';

const REMOTE = makeEndpoint(20);

let node: PseudoNode;
let server: Process;
let client: Process;
beforeEach(() => {
  node = new PseudoNode();
  server = node.segment.bind({ name: 'server', level: 'server', slot: 5 });
  client = node.segment.bind({ name: 'client' });
});
afterEach(async () => {
  await node.remove();
});

function bind(slot: number): Process {
  return node.segment.bind({ name: `s${String(slot)}`, level: 'server', slot });
}

describe('21 receive', () => {
  it('for one source leaves the pending notification of another one alone', async () => {
    const other = bind(6);
    other.notify(server.endpoint);
    expect(errorName(server.receiveRaw(client.endpoint, 0))).toBe('EAGAIN');

    const received = server.receive(client.endpoint);
    other.notify(server.endpoint);
    await client.send(server.endpoint);
    await received;
    expect(server.message.source).toBe(client.endpoint);
    server.receiveSync(ANY, 0);
    expect([server.message.source, server.lastKind]).toEqual([other.endpoint, 'notify']);
  });

  it('shows with each notification its own value, and nothing of the other sources', () => {
    const clock = bind(6);
    node.segment.notifyKernel(server.endpoint, 1);
    clock.notify(server.endpoint, { value: 6 });
    client.notify(server.endpoint);
    const seen = [0, 0, 0].map(() => {
      server.message.bytes.fill(0xff);
      server.receiveSync(ANY, 0);
      return [server.message.source, server.notifyValue, server.message.int32[3]];
    });

    expect(seen).toEqual([
      [KERNEL, 1, 0],
      [clock.endpoint, 6, 0],
      [client.endpoint, 0, 0],
    ]);
  });

  it('takes every slot as a source, the last ones too', async () => {
    const last = node.segment.info().processes - 1;
    const source = makeEndpoint(last);
    node.segment.addNode(nodeId(3), 'n3');
    node.segment.bindRemote(source, nodeId(3), 'user', 'last');
    const received = codeOf(() => server.receive(source, { timeoutMs: 0 }));
    expect(await received).toBe('EAGAIN');
    expect(errorName(server.receiveRaw(makeEndpoint(last + 1), 0))).toBe('ERANGE');
    const highest = bind(63);
    const sent = highest.send(server.endpoint);
    server.receiveSync(highest.endpoint, 0);
    await sent;
  });
});

describe('21 errors', () => {
  it('of every call leave caller and peer free for the next call', async () => {
    node.segment.bindRemote(REMOTE, nodeId(1), 'server', 'remote');
    node.segment.linkDown(nodeId(1));
    const peers = [
      ANY,
      SELF,
      KERNEL,
      REMOTE,
      makeEndpoint(200),
      makeEndpoint(999),
      client.endpoint,
    ];
    const calls = peers.flatMap((peer) => [
      server.sendRaw(peer, 0),
      server.receiveRaw(peer, 0),
      server.sendrecRaw(peer, 0),
      server.replyRaw(peer),
      server.relayRaw(peer, client.endpoint),
      server.relayRaw(client.endpoint, peer),
    ]);
    expect(calls.every((result) => result < 0)).toBe(true);

    for (const [to, from] of [
      [server, client],
      [client, server],
    ] as const) {
      const received = to.receive(from.endpoint);
      await from.send(to.endpoint);
      await received;
    }
    const request = server.rcvrqst();
    const call = client.sendrec(server.endpoint);
    await request;
    server.replySync(client.endpoint);
    await call;
  });

  it('of binds and of the administration of nodes leave the table free', async () => {
    const { segment } = node;
    segment.bindRemote(REMOTE, nodeId(1), 'server', 'remote');
    const codes = [
      await codeOf(() => segment.bind({ slot: 5, name: 'again' })),
      await codeOf(() => segment.bind({ slot: 64, name: 'beyond' })),
      await codeOf(() => {
        segment.bindRemote(server.endpoint, nodeId(1), 'user', 'far');
      }),
      await codeOf(() => {
        segment.unbindRemote(server.endpoint);
      }),
      await codeOf(() => {
        segment.addNode(nodeId(1), 'again');
      }),
      await codeOf(() => {
        segment.removeNode(nodeId(3));
      }),
      await codeOf(() => {
        segment.linkDown(nodeId(3));
      }),
      await codeOf(() => {
        segment.linkDown(nodeId(0));
      }),
    ];

    expect(codes).toEqual([
      'EDVSSLOTUSED',
      'EDVSBADPROC',
      'EDVSSLOTUSED',
      'EDVSNOTBOUND',
      'EEXIST',
      'EDVSNODCNODE',
      'EDVSNODCNODE',
      'EDVSBADNODEID',
    ]);
    bind(7).unbind();
  });

  it('for a process number that there is not is EDVSBADPROC, and no code of DCs', async () => {
    const { segment } = node;
    expect(await codeOf(() => segment.bind({ slot: 70, name: 'dynamic' }))).toBe('EDVSBADPROC');
    expect(await codeOf(() => segment.lookup(100_000))).toBe('EDVSBADPROC');
    const far = makeEndpoint(300);
    const remote = codeOf(() => {
      segment.bindRemote(far, nodeId(1), 'user', 'far');
    });
    expect(await remote).toBe('EDVSBADPROC');
  });
});

describe('21 node_down', () => {
  it('takes down a node that is mapped, and tells who waits for it', async () => {
    node.segment.bindRemote(REMOTE, nodeId(1), 'server', 'remote');
    const call = codeOf(() => client.sendrec(REMOTE));
    const stateOf = (): string | undefined =>
      node.segment.links().find((link) => link.node === 1)?.state;
    expect(stateOf()).toBe('up');
    node.segment.linkDown(nodeId(1));

    expect(await call).toBe('ENOTCONN');
    expect(stateOf()).toBe('down');
    node.segment.removeNode(nodeId(1));
    expect(stateOf()).toBeUndefined();
    expect(node.segment.isBound(REMOTE)).toBe(false);
  });
});

describe('21 what the whole kernel lacks', () => {
  it('a cycle of waits is found: ELOCKED', async () => {
    const first = codeOf(() => server.send(client.endpoint));
    expect(errorName(client.sendRaw(server.endpoint, 10_000))).toBe('ELOCKED');

    client.receiveSync(server.endpoint);
    expect(await first).toBe('none');
  });

  it('generations tell the owners of a slot apart', async () => {
    const { endpoint } = server;
    client.notify(endpoint);
    server.unbind();
    const next = bind(5);

    expect(slotOf(next.endpoint)).toBe(5);
    expect(generationOf(next.endpoint)).toBe(generationOf(endpoint) + 1);
    expect(await codeOf(() => client.send(endpoint))).toBe('EDEADSRCDST');
    expect(errorName(next.receiveRaw(ANY, 0))).toBe('EAGAIN');
  });

  it('relay hands a request on', async () => {
    const back = bind(6);
    const call = client.sendrec(server.endpoint);
    server.rcvrqstSync();
    server.relaySync(client.endpoint, back.endpoint);
    await back.rcvrqst();
    back.replySync(client.endpoint);
    await call;

    expect(client.message.source).toBe(back.endpoint);
  });

  it('ipc_from is read', async () => {
    const now = node.segment.privileges(server.endpoint);
    node.segment.setPrivileges(server.endpoint, { ...now, from: peersIn([6]) });

    expect(await codeOf(() => client.sendrec(server.endpoint))).toBe('ECALLDENIED');
    expect(errorName(client.notifyRaw(server.endpoint))).toBe('ECALLDENIED');
    expect(errorName(bind(6).sendRaw(server.endpoint, 0))).toBe('EAGAIN');
  });
});

describe('21 migration', () => {
  it('takes notifications along, and what waits for a proxy goes to the new place', async () => {
    const nodes = new HandProxies(2);
    const moving = nodes.server(9, 0);
    const { endpoint } = moving;
    const backup = nodes
      .segment(1)
      .bind({ name: 'backup', level: 'server', backup: { endpoint, node: nodeId(0) } });
    const near = nodes.server(3, 0);
    const far = nodes.client(1);
    const waiting = codeOf(() => moving.rcvrqst());
    near.notify(endpoint);

    nodes.segment(0).migrations.start(endpoint);
    expect(await waiting).toBe('EDVSMIGRATING');
    const stopped = codeOf(() => moving.rcvrqst());
    const answer = far.sendrec(endpoint);
    nodes.settle();
    expect(nodes.segment(0).migrations.commit(endpoint, nodeId(1))).toBe(true);
    nodes.settle();

    await backup.receive(ANY);
    expect([backup.lastKind, backup.message.source]).toEqual(['notify', near.endpoint]);
    await backup.rcvrqst();
    expect(backup.message.source).toBe(far.endpoint);
    backup.replySync(far.endpoint);
    nodes.settle();
    await answer;
    moving.unbind();
    await stopped;
    await nodes.remove();
  });
});

describe('21 proxies', () => {
  const send = (): { kind: number; source: number; destination: number } => ({
    kind: CommandKind.SEND_MSG,
    source: REMOTE,
    destination: server.endpoint,
  });

  it('autobind is reached, also after a command that was refused', () => {
    node.segment.bindRemote(REMOTE, nodeId(1), 'server', 'remote');
    expect(node.put(2, send())).toBe(-ErrorNumber.EDVSSLOTUSED);
    node.segment.linkDown(nodeId(1));
    expect(node.put(2, send())).toBe(0);

    expect(node.segment.process(slotOf(REMOTE))).toMatchObject({ node: 2, name: 'rclient' });
    server.receiveSync(ANY, 0);
    expect(server.message.source).toBe(REMOTE);
  });

  it('copies carry as many bytes as they say, whatever the size of a pointer', () => {
    const memory = new Uint8Array(64);
    const grant = server.grant(memory, 'write', ANY);
    for (const bytes of [1, 7, 8, 9, 15, 16, 17, 63]) {
      memory.fill(0);
      const fields = {
        ...send(),
        kind: CommandKind.COPYIN_DATA,
        callId: bytes,
        requester: REMOTE,
        requesterNode: 1,
        copySource: REMOTE,
        copyDestination: server.endpoint,
        copyDestinationGrant: grant,
        copyBytes: bytes,
      };
      const data = pattern(bytes, bytes).map((byte) => byte | 1);
      expect(node.put(1, fields, { data })).toBe(0);
      const expected = new Uint8Array(64);
      expected.set(data);
      expect([...memory]).toEqual([...expected]);
      expect(node.peek(1)?.fields['result']).toBe(bytes);
      expect(node.put(1, { ...fields, payloadBytes: bytes + 1 }, { data })).toBe(
        -ErrorNumber.EDVSBADFRAME,
      );
    }
  });
});

describe('21 wire format', () => {
  function faultOf(change: (view: DataView, bytes: Uint8Array) => void): string | undefined {
    const bytes = frameBytes({ kind: CommandKind.SEND_MSG, callId: 0x0102_0304 });
    const view = new DataView(bytes.buffer);
    change(view, bytes);
    view.setUint32(
      FrameLayout.headerChecksum,
      crc32c(bytes.subarray(0, FrameLayout.headerChecksum), 0),
      true,
    );
    const decoder = new FrameDecoder(crc32c, 0);
    decoder.space().set(bytes);
    decoder.filled(bytes.length);
    expect(decoder.next() === undefined).toBe(decoder.fault !== undefined);
    return decoder.fault?.code;
  }

  it('names its version and byte order, and refuses another one', () => {
    expect(faultOf(() => undefined)).toBeUndefined();
    const other = faultOf((view) => {
      view.setUint16(FrameLayout.version, 2, true);
    });
    const swapped = faultOf((_, bytes) => {
      bytes.subarray(0, 4).reverse();
    });
    const wider = faultOf((view) => {
      view.setUint16(FrameLayout.headerBytes, FrameLayout.BYTES + 8, true);
    });
    expect([other, swapped, wider]).toEqual(['version', 'magic', 'header-bytes']);
  });

  it('has fixed places and little-endian numbers, whatever the host', () => {
    const bytes = frameBytes({ kind: CommandKind.SEND_MSG, callId: 0x0102_0304 });
    const at = FrameLayout.BYTES + CommandLayout.callId;

    expect([...bytes.subarray(at, at + 4)]).toEqual([4, 3, 2, 1]);
    expect(bytes.length).toBe(32 + 176);
  });

  it('of a segment is checked the same way', () => {
    const { path } = node.segment;
    const bytes = readFileSync(path);
    const copy = `${path}-copy`;
    const BYTE_ORDER = 12;
    bytes.subarray(BYTE_ORDER, BYTE_ORDER + 4).reverse();
    writeFileSync(copy, bytes);

    expect(() => Segment.open(copy)).toThrow(/^EDVSBADSEGMENT: /);
  });
});

describe('21 commands of the network', () => {
  it('run nothing: the proxy command that asks for a shell command has no effect', () => {
    const RUN_COMMAND = 6;
    const fields = { kind: CommandKind.NONE, source: REMOTE, destination: server.endpoint };

    expect(node.put(1, fields, { type: RUN_COMMAND })).toBe(0);
    expect(node.peek(1)).toBeUndefined();
    expect(errorName(server.receiveRaw(ANY, 0))).toBe('EAGAIN');
  });

  it('reach no daemon: its calls are a fixed list, on a socket of its owner alone', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dvk-channel-'));
    const path = join(folder, 'socket');
    const daemon = await serve(path, { status: () => 'up' });
    try {
      const caller = await DaemonClient.connect(path, 'node 1');
      expect(await caller?.call('status')).toBe('up');
      for (const name of ['runCommand', 'exec', 'constructor', '']) {
        await expect(caller?.call(name, { command: 'true' })).rejects.toThrow(/has no call/);
      }
      expect(statSync(path).mode & 0o777).toBe(0o600);
      caller?.close();
    } finally {
      daemon.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('could start no shell: no source of this project does', () => {
    const root = join(import.meta.dirname, '../../src');
    const sources = readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => [name, readFileSync(join(root, name), 'utf8')] as const);

    const shell = /\bshell:\s*[^f]|import \{[^}]*\bexec(Sync)?\b[^}]*\} from 'node:child_process'/;
    const found = sources.filter(([, text]) => shell.test(text));

    expect(sources.length).toBeGreaterThan(50);
    expect(found.map(([name]) => name)).toEqual([]);
  });
});
