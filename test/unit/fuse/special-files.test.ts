// FIFOs, sockets and device nodes, which the kernel opens without a word: the mount holds them for
// as long as the kernel knows them.
import { constants } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import { Gateway, GATEWAY_DEFAULTS } from '../../../src/vos/fuse/gateway.ts';
import { SPECIAL_FILES_MAX } from '../../../src/vos/fuse/special-files.ts';
import { Opcode } from '../../../src/vos/fuse/wire.ts';
import {
  initMessage,
  join,
  ManualClock,
  message,
  name,
  RecordingPort,
  words,
} from '../../support/fuse-messages.ts';
import { MemoryFiles, S_IFIFO, S_IFREG } from '../../support/memory-files.ts';

const { ENOENT, ESTALE } = constants.errno;

let files: MemoryFiles;
let port: RecordingPort;
let gateway: Gateway;
let unique = 100;

async function give(opcode: number, node: number, ...body: Uint8Array[]): Promise<void> {
  const view = message(opcode, { unique: (unique += 2), node, body: join(...body) });
  gateway.receive(view, view.byteLength);
  await new Promise((done) => setImmediate(done));
}

/** The node, and how often it is held. */
async function lookup(file: string): Promise<[node: number, holds: number]> {
  await give(Opcode.LOOKUP, 1, name(file));
  expect(port.last().error).toBe(0);
  const node = new DataView(port.last().body.buffer).getUint32(0, true);
  return [node, files.holds.get(node) ?? 0];
}

async function forget(node: number, lookups: number): Promise<void> {
  await give(Opcode.FORGET, node, words(lookups, 0));
}

beforeEach(async () => {
  files = new MemoryFiles();
  port = new RecordingPort();
  gateway = new Gateway(files, port, new ManualClock(), GATEWAY_DEFAULTS);
  const init = initMessage();
  gateway.receive(init, init.byteLength);
  files.add('/fifo', S_IFIFO | 0o600);
  files.add('/file', S_IFREG | 0o600);
  await new Promise((done) => setImmediate(done));
});

describe('a FIFO', () => {
  it('is held from its first lookup until the kernel has forgotten it', async () => {
    const [node, first] = await lookup('fifo');
    const [, second] = await lookup('fifo');
    await forget(node, 1);
    const between = files.holds.get(node);
    await forget(node, 1);

    expect([first, second, between, files.holds.size]).toEqual([1, 1, 1, 0]);
    expect((await lookup('file'))[1]).toBe(0);
  });

  it('is held from when it is made, by the same call', async () => {
    await give(Opcode.MKNOD, 1, words(S_IFIFO | 0o600, 0, 0, 0), name('made'));
    const node = new DataView(port.last().body.buffer).getUint32(0, true);

    expect([files.holds.get(node), files.calls.get('open') ?? 0]).toEqual([1, 0]);
    await forget(node, 1);
    expect(files.holds.size).toBe(0);
  });

  it('is let go when the kernel did not take the answer', async () => {
    port.refuse = -ENOENT;
    await give(Opcode.LOOKUP, 1, name('fifo'));

    expect([files.calls.get('open'), files.holds.size]).toEqual([1, 0]);
  });

  it('is held once when it is looked up twice at a time', async () => {
    const [one, other] = [1, 2].map(() =>
      message(Opcode.LOOKUP, { unique: (unique += 2), node: 1, body: name('fifo') }),
    );
    for (const view of [one, other]) if (view) gateway.receive(view, view.byteLength);
    await new Promise((done) => setImmediate(done));
    const [node] = await lookup('fifo');

    expect([files.calls.get('open'), files.holds.get(node)]).toEqual([2, 1]);
    await forget(node, 3);
    expect(files.holds.size).toBe(0);
  });

  it('that goes between its lookup and its hold is looked up again', async () => {
    files.failing.set('open', 'ESTALE');
    await give(Opcode.LOOKUP, 1, name('fifo'));

    expect(port.last().error).toBe(-ESTALE);
  });

  it('is shown without a hold where too many files are open', async () => {
    files.failing.set('open', 'ENFILE');

    expect((await lookup('fifo'))[1]).toBe(0);
  });

  it('is held as long as there are few', async () => {
    for (let i = 0; i <= SPECIAL_FILES_MAX; i++) {
      files.add(`/fifo${String(i)}`, S_IFIFO | 0o600);
      await lookup(`fifo${String(i)}`);
    }

    expect(files.holds.size).toBe(SPECIAL_FILES_MAX);
  });

  it('is not told of by a list, so that it is looked up', async () => {
    await give(Opcode.READDIRPLUS, 1, words(0, 0, 0, 0, 8192, 0, 0, 0, 0, 0));
    const nodes = gateway.nodes;

    expect(nodes).toBe(1);
  });
});
