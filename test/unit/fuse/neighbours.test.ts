// Names and attributes that came with others: when they are asked for, believed, and forgotten.
import { constants } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import { Gateway, GATEWAY_DEFAULTS } from '../../../src/vos/fuse/gateway.ts';
import { Neighbours } from '../../../src/vos/fuse/neighbours.ts';
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
import { MemoryFiles, S_IFDIR, S_IFREG } from '../../support/memory-files.ts';

const { ENOENT } = constants.errno;
const ROOT = { inode: 2, generation: 0 };
const VALID_MS = 1000;

let files: MemoryFiles;
let port: RecordingPort;
let clock: ManualClock;
let gateway: Gateway;

async function give(view: DataView): Promise<void> {
  gateway.receive(view, view.byteLength);
  for (let i = 0; i < 4; i++) await new Promise((done) => setImmediate(done));
}

async function lookup(text: string): Promise<{ error: number; validMs: number }> {
  await give(message(Opcode.LOOKUP, { body: name(text) }));
  const { error, body } = port.last();
  if (error !== 0) return { error, validMs: 0 };
  const view = new DataView(body.buffer);
  return { error, validMs: view.getUint32(16, true) * 1000 + view.getUint32(32, true) / 1e6 };
}

async function lookupAll(from: number, to: number): Promise<number> {
  const before = files.calls.get('lookup') ?? 0;
  for (let i = from; i < to; i++) expect((await lookup(`f${i}`)).error).toBe(0);
  return (files.calls.get('lookup') ?? 0) - before;
}

beforeEach(async () => {
  files = new MemoryFiles();
  port = new RecordingPort();
  clock = new ManualClock();
  gateway = new Gateway(files, port, clock, { ...GATEWAY_DEFAULTS, entryMs: VALID_MS });
  for (let i = 0; i < 200; i++) files.add(`/f${i}`, S_IFREG | 0o644);
  await give(initMessage());
});

describe('lookups in one directory', () => {
  it('are answered from a list after a few of them, for what is left of its time', async () => {
    expect(await lookupAll(0, 200)).toBe(4);
    clock.advance(400);
    expect((await lookup('f7')).validMs).toBe(VALID_MS - 400);
    expect(gateway.nodes).toBe(200);
    clock.advance(600);
    expect(await lookupAll(0, 1)).toBe(1);
  });

  it('list a directory again only when a 16th of it was asked for', async () => {
    await lookupAll(0, 200);
    clock.advance(VALID_MS);
    expect(await lookupAll(0, 200)).toBe(13);
  });

  it('ask for a name that was not in the list, which may be new', async () => {
    await lookupAll(0, 10);
    expect((await lookup('new')).error).toBe(-ENOENT);
    files.add('/new', S_IFREG | 0o644);
    expect((await lookup('new')).error).toBe(0);
  });

  it('do not go back behind a change that the kernel was told of', async () => {
    await lookupAll(0, 10);
    const file = files.files.get(2)?.children.get('f50') ?? 0;
    const old = files.files.get(file)?.attributes;
    const seen = { ...old, size: 5, changed: { seconds: 2 ** 33, nanoseconds: 0 } };
    await lookup('f50');
    files.files.set(file, Object.assign({}, files.files.get(file), { attributes: seen }));
    await give(message(Opcode.GETATTR, { node: file, body: words(0, 0, 0, 0) }));
    const before = files.calls.get('lookup') ?? 0;
    await lookup('f50');
    expect(files.calls.get('lookup')).toBe(before + 1);
  });

  it('know nothing after a new file', async () => {
    await lookupAll(0, 100);
    await give(message(Opcode.MKNOD, { body: join(words(0o100644, 0, 0, 0), name('made')) }));
    expect(await lookupAll(99, 100)).toBe(1);
  });

  it('know all others after a removal, and go on to list', async () => {
    await lookupAll(0, 3);
    await give(message(Opcode.UNLINK, { body: name('f1') }));
    expect(await lookupAll(3, 100)).toBe(1);
    await give(message(Opcode.UNLINK, { body: name('f3') }));
    expect(await lookupAll(4, 100)).toBe(0);
    expect((await lookup('f3')).error).toBe(-ENOENT);
  });

  it('know nothing after the removal of a file that may have other names', async () => {
    const file = files.files.get(files.files.get(2)?.children.get('f5') ?? 0);
    Object.assign(file?.attributes ?? {}, { links: 2 });
    await lookupAll(0, 100);
    // The list is of no use for a name that is not in it: it may be that file's.
    await give(message(Opcode.UNLINK, { body: name('f5') }));
    expect(await lookupAll(99, 100)).toBe(1);
  });

  it('do not know what the directory itself was like before', async () => {
    files.add('/sub', S_IFDIR | 0o755);
    files.add('/sub/file', S_IFREG | 0o644);
    const node = files.files.get(2)?.children.get('sub') ?? 0;
    await lookupAll(0, 100);
    await lookup('sub');
    await give(message(Opcode.UNLINK, { node, body: name('file') }));
    const before = files.calls.get('lookup') ?? 0;
    await lookup('sub');
    expect(files.calls.get('lookup')).toBe(before + 1);
    expect(await lookupAll(4, 100)).toBe(0);
  });
});

describe('what is kept', () => {
  async function settle(): Promise<void> {
    for (let i = 0; i < 60; i++) await new Promise((done) => setImmediate(done));
  }

  it('is bounded, whatever the size and number of directories', async () => {
    for (let i = 200; i < 2000; i++) files.add(`/f${i}`, S_IFREG | 0o644);
    const neighbours = new Neighbours(files, clock, { validMs: VALID_MS, entriesMax: 500 });
    for (let i = 0; i < 4; i++) neighbours.asked(ROOT);
    await settle();
    expect(neighbours.size).toBe(500);

    for (let i = 0; i < 100; i++) {
      const directory = files.add(`/d${i}`, S_IFDIR | 0o755).attributes;
      files.add(`/d${i}/file`, S_IFREG | 0o644);
      for (let j = 0; j < 4; j++) neighbours.asked(directory);
      await settle();
    }
    expect(neighbours.size).toBe(64);
  });

  it('is a list without what was removed meanwhile', async () => {
    const linked = files.add('/linked', S_IFREG | 0o644);
    Object.assign(linked.attributes, { links: 2 });
    const neighbours = new Neighbours(files, clock, { validMs: VALID_MS, entriesMax: 500 });
    for (let i = 0; i < 4; i++) neighbours.asked(ROOT);
    neighbours.removed(ROOT, Buffer.from('f1'));
    await settle();
    expect(neighbours.size).toBe(199);
    expect(neighbours.find(ROOT, Buffer.from('f1'))).toBeUndefined();
    expect(neighbours.find(ROOT, Buffer.from('linked'))).toBeUndefined();
    expect(neighbours.find(ROOT, Buffer.from('f2'))).toBeDefined();
  });

  it('is not a list during which something changed', async () => {
    const neighbours = new Neighbours(files, clock, { validMs: VALID_MS, entriesMax: 500 });
    for (let i = 0; i < 4; i++) neighbours.asked(ROOT);
    neighbours.forget();
    await settle();
    expect(neighbours.size).toBe(0);
    // Nor is there one soon after a change.
    clock.advance(VALID_MS - 1);
    for (let i = 0; i < 13; i++) neighbours.asked(ROOT);
    await settle();
    expect(neighbours.size).toBe(0);
    clock.advance(1);
    for (let i = 0; i < 13; i++) neighbours.asked(ROOT);
    await settle();
    expect(neighbours.find(ROOT, Buffer.from('f1'))).toBeDefined();
    expect(neighbours.find({ ...ROOT, generation: 1 }, Buffer.from('f1'))).toBeUndefined();
  });
});
