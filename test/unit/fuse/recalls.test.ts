// What a gateway with leases tells its kernel: how long an answer may be believed, and what is to
// be forgotten when it is recalled. Method: requests of a kernel over files in memory; leases whose
// state the test sets; a thread that drops pages when the test says so.
import { beforeEach, describe, expect, it } from 'vitest';
import type { LeaseMark, RecallListener, Trust } from '../../../src/vos/client/leases.ts';
import { Gateway, GATEWAY_DEFAULTS } from '../../../src/vos/fuse/gateway.ts';
import { NotifyCode, Opcode } from '../../../src/vos/fuse/wire.ts';
import { LeaseKind } from '../../../src/vos/protocol/fs-lease.ts';
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

const { ATTRIBUTES, DATA, NAMES } = LeaseKind;
const ROOT_INODE = 2;

/** Leases that last for `ms`, and of which the test recalls some. */
class ManualTrust implements Trust {
  ms = 4000;
  readonly recalled = new Set<number>();
  listener: RecallListener | undefined;

  mark(): LeaseMark {
    return { atMs: 0, epoch: 0, recalls: 0 };
  }

  validMs(_: LeaseMark, inode: number): number {
    return this.recalled.has(inode) ? 0 : this.ms;
  }

  listen(listener: RecallListener): void {
    this.listener = listener;
  }
}

describe('a gateway with leases', () => {
  let files: MemoryFiles;
  let port: RecordingPort & { trust?: Trust; pages?: { drop(node: number): Promise<void> } };
  let trust: ManualTrust;
  let gateway: Gateway;
  let dropping: { node: number; done: () => void }[];
  let unique = 100;

  beforeEach(() => {
    files = new MemoryFiles();
    files.add('/file', S_IFREG | 0o644, new TextEncoder().encode('0123456789'));
    files.add('/dir', S_IFDIR | 0o755);
    trust = new ManualTrust();
    dropping = [];
    const drop = async (node: number): Promise<void> => {
      await new Promise<void>((done) => dropping.push({ node, done }));
    };
    port = Object.assign(new RecordingPort(), { trust, pages: { drop } });
    gateway = new Gateway(files, port, new ManualClock(), GATEWAY_DEFAULTS);
    const init = initMessage();
    gateway.receive(init, init.byteLength);
  });

  async function give(opcode: number, node: number, ...body: Uint8Array[]): Promise<DataView> {
    const view = message(opcode, { unique: (unique += 2), node, body: join(...body) });
    gateway.receive(view, view.byteLength);
    await turn();
    return new DataView(port.last().body.buffer);
  }

  async function turn(): Promise<void> {
    await new Promise((done) => setImmediate(done));
  }

  /** Codes of notices since `from` replies. */
  function notices(from: number): number[] {
    return port.replies.slice(from).flatMap(({ error }) => (error > 0 ? [error] : []));
  }

  const lookup = async (text: string): Promise<DataView> => give(Opcode.LOOKUP, 1, name(text));

  it('lets the kernel believe while the lease lasts, and nothing recalled', async () => {
    let entry = await lookup('file');
    const file = entry.getUint32(0, true);
    expect([entry.getUint32(16, true), entry.getUint32(24, true)]).toEqual([4, 4]);
    trust.recalled.add(ROOT_INODE);
    entry = await lookup('file');
    expect([entry.getUint32(16, true), entry.getUint32(24, true)]).toEqual([0, 4]);
    trust.recalled.add(file);
    const attributes = await give(Opcode.GETATTR, file, words(0, 0, 0, 0));
    expect([attributes.getUint32(0, true), attributes.getUint32(8, true)]).toEqual([0, 0]);
  });

  it('believes no names where the kernel cannot be told that they are old', async () => {
    port.refuse = -22;
    gateway = new Gateway(files, port, new ManualClock(), GATEWAY_DEFAULTS);
    const init = initMessage();
    gateway.receive(init, init.byteLength);
    port.refuse = 0;
    const entry = await lookup('file');
    expect([entry.getUint32(16, true), entry.getUint32(24, true)]).toEqual([0, 4]);
  });

  it('calls back attributes, and all names when one is recalled that it has told', async () => {
    const file = (await lookup('file')).getUint32(0, true);
    const from = port.replies.length;
    await trust.listener?.recalled([{ inode: file, kinds: ATTRIBUTES }]);
    expect(notices(from)).toEqual([NotifyCode.INVAL_INODE]);
    const unknown = name('other').subarray(0, -1);
    await trust.listener?.recalled([{ inode: ROOT_INODE, kinds: NAMES, name: unknown }]);
    expect(notices(from)).not.toContain(NotifyCode.INC_EPOCH);
    const known = name('file').subarray(0, -1);
    await trust.listener?.recalled([{ inode: ROOT_INODE, kinds: NAMES, name: known }]);
    expect(notices(from)).toContain(NotifyCode.INC_EPOCH);
    await trust.listener?.recalled([{ inode: 999, kinds: ATTRIBUTES | DATA }]);
    expect(dropping).toEqual([]);
  });

  it('waits until pages are dropped, unless a change of the file is under way here', async () => {
    const file = (await lookup('file')).getUint32(0, true);
    let done = false;
    const recall = async (): Promise<void> => {
      done = false;
      await trust.listener?.recalled([{ inode: file, kinds: DATA }]);
      done = true;
    };
    let recalled = recall();
    await turn();
    expect([done, dropping.map(({ node }) => node)]).toEqual([false, [file]]);
    dropping[0]?.done();
    await recalled;

    recalled = recall();
    await turn();
    expect(done).toBe(false);
    const write = join(words(0, 0, 0, 0, 1, 0, 0, 0, 0, 0), Uint8Array.of(65));
    await give(Opcode.WRITE, file, write);
    await recalled;
    expect([done, dropping.length]).toEqual([true, 2]);
  });

  it('makes the kernel forget all when leases are lost', async () => {
    await lookup('file');
    await lookup('dir');
    const from = port.replies.length;
    trust.listener?.lost();
    const { INC_EPOCH, INVAL_INODE } = NotifyCode;
    expect(notices(from)).toEqual([INC_EPOCH, INVAL_INODE, INVAL_INODE, INVAL_INODE]);
    expect(dropping).toHaveLength(3);
  });
});
