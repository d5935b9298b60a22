// Windows: memory of the server through which clients of other nodes write. Method: the
// handlers of the FS protocol over a volume in memory, and windows whose grants are numbers.
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChangingHandlers } from '../../../src/servers/fs/changing-handlers.ts';
import { ERRNO } from '../../../src/servers/fs/errors.ts';
import { createHandlers, type FsHandler } from '../../../src/servers/fs/handlers.ts';
import { Windows } from '../../../src/servers/fs/windows.ts';
import { encodeChange } from '../../../src/vos/protocol/fs-change.ts';
import {
  FsCall,
  ROOT_INODE,
  TRANSFER_BYTES_MAX,
  decodeAttributes,
} from '../../../src/vos/protocol/fs.ts';
import type { FileAttributes } from '../../../src/vos/protocol/fs.ts';
import {
  WINDOW_GRANT,
  decodeWindow,
  encodeWindowRequest,
} from '../../../src/vos/protocol/fs-window.ts';
import {
  checkImage,
  freshImage,
  openChanged,
  type ChangedVolume,
} from '../../support/changed-volume.ts';
import { imageObstacle } from '../../support/images.ts';
import { pattern } from '../../support/trees.ts';

const obstacle = imageObstacle();
const CLIENT = 7;
const OTHER_CLIENT = 8;
const THIRD_CLIENT = 9;
const GRANT = 3;
const WINDOWS = 2;
const OWNER = { uid: 0, gid: 0 };

describe.skipIf(obstacle !== undefined)(`a window ${obstacle ?? ''}`, () => {
  const request = new DataView(new ArrayBuffer(64));
  const reply = new DataView(new ArrayBuffer(64));
  let image: Uint8Array;
  let changed: ChangedVolume;
  let table: Map<number, FsHandler>;
  let windows: Windows;
  /** Memory that was granted, and to whom. */
  let grants: Map<number, { readonly memory: Uint8Array; readonly endpoint: number }>;
  let allocated: number;
  let alive: Set<number>;
  let file: FileAttributes;

  function send(client: number): number {
    request.setInt32(0, client, true);
    return table.get(request.getInt32(4, true))?.(request, reply) ?? -1;
  }

  /** Asks for a window; undefined when there is none. */
  function ask(client: number): number | undefined {
    encodeWindowRequest(request);
    const result = send(client);
    if (result < 0) expect(result).toBe(-ERRNO.EUSERS);
    return result < 0 ? undefined : decodeWindow(reply);
  }

  function memoryOf(grant: number | undefined): Uint8Array {
    const found = grants.get(grant ?? -1)?.memory;
    if (found === undefined) throw new Error('there is no such grant');
    return found;
  }

  function write(client: number, offset: number, bytes: number, sequence = 0): number {
    const { inode, generation } = file;
    const what = { call: FsCall.WRITE, inode, generation, offset, bytes, sequence, ...OWNER };
    encodeChange(request, { ...what, grant: WINDOW_GRANT }, []);
    return send(client);
  }

  beforeAll(() => {
    image = freshImage({ bytes: 16 << 20 });
  });

  beforeEach(() => {
    changed = openChanged(image.slice());
    grants = new Map();
    allocated = 0;
    alive = new Set([CLIENT, OTHER_CLIENT, THIRD_CLIENT]);
    let next = GRANT;
    windows = new Windows(
      {
        allocate: (bytes) => {
          allocated += bytes;
          return new Uint8Array(bytes);
        },
        grant: (memory, endpoint) => {
          grants.set(++next, { memory, endpoint });
          return next;
        },
        revoke: (grant) => expect(grants.delete(grant)).toBe(true),
        isAlive: (endpoint) => alive.has(endpoint),
      },
      WINDOWS * TRANSFER_BYTES_MAX,
    );
    const { volume } = changed;
    const memory = {
      copyIn: (_: number, __: number, ___: number, target: Uint8Array): void => {
        target.fill(1);
      },
      copyOut: (): never => expect.unreachable('nothing goes to a client by itself'),
      stage: (bytes: number): Uint8Array => new Uint8Array(bytes),
      window: (client: number): Uint8Array | undefined => windows.of(client),
    };
    const handlers = new ChangingHandlers(volume, memory, {
      writer: volume,
      commit: () => undefined,
      isAlive: (client) => alive.has(client),
      now: () => ({ seconds: 1_234_567_890, nanoseconds: 5 }),
      nowMs: () => 0,
    });
    table = new Map([...createHandlers(volume, memory), ...handlers.table()]);
    table.set(FsCall.WINDOW, (message, answer) => windows.onWindow(message, answer));
    const made = { call: FsCall.CREATE, inode: ROOT_INODE, mode: 0o100644, ...OWNER };
    encodeChange(request, made, [Buffer.from('file')]);
    expect(send(CLIENT)).toBe(0);
    file = decodeAttributes(reply);
  });

  afterEach(() => {
    changed.close();
    checkImage(changed.device.content);
  });

  it('is what is written from', () => {
    const window = memoryOf(ask(CLIENT));
    const data = pattern(TRANSFER_BYTES_MAX, 1);
    window.set(data);
    expect(write(CLIENT, 5, data.length)).toBe(data.length);
    window.fill(0);
    const written = new Uint8Array(data.length);
    changed.volume.read(changed.volume.inode(file.inode, file.generation), 5, written);
    expect(Buffer.from(written).equals(data)).toBe(true);
  });

  it('is named by nobody else, and needs to be there', () => {
    ask(CLIENT);
    expect(write(OTHER_CLIENT, 0, 10)).toBe(-ERRNO.EFAULT);
    expect(write(CLIENT, 0, 10)).toBe(10);
    expect(write(CLIENT, 0, TRANSFER_BYTES_MAX + 1)).toBe(-ERRNO.EINVAL);
  });

  it('is not there for a request that comes again with a grant', () => {
    expect(write(CLIENT, 0, 10, 77)).toBe(-ERRNO.EFAULT);
    request.setInt32(20, GRANT, true);
    expect(send(CLIENT)).toBe(10);
  });

  it('has another grant when it is asked for again, and the same memory', () => {
    const first = ask(CLIENT);
    const memory = memoryOf(first);
    const second = ask(CLIENT);
    expect(second).not.toBe(first);
    expect(grants.has(first ?? -1)).toBe(false);
    expect(memoryOf(second)).toBe(memory);
    expect(grants.get(second ?? -1)?.endpoint).toBe(CLIENT);
  });

  it('is one of so many, and goes with its client', () => {
    ask(CLIENT);
    ask(OTHER_CLIENT);
    expect(ask(THIRD_CLIENT)).toBeUndefined();
    alive.delete(CLIENT);
    expect(ask(THIRD_CLIENT)).toBeDefined();
    expect(windows.of(CLIENT)).toBeUndefined();
    alive.clear();
    windows.sweep();
    expect([windows.size, grants.size]).toEqual([0, 0]);
    expect(allocated).toBe(WINDOWS * TRANSFER_BYTES_MAX);
  });
});
