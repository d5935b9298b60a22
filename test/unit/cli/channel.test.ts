// The channel between command and daemon: answers, errors, time-outs, and what does not belong
// there: promise S12 (any bytes: no crash, no hang, no growth) for the control socket.
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createConnection, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DaemonClient, serve } from '../../../src/cli/channel.ts';
import { systemClock } from '../../../src/dvk/clock.ts';
import { seeded } from '../../support/datagram-network.ts';

let directory: string;
let path: string;
let server: Server;
/** Answers that were made by `bulky`. */
let bulky: number;
const BULKY_BYTES = 65_536;

beforeEach(async () => {
  bulky = 0;
  directory = mkdtempSync(join(tmpdir(), 'dvk-channel-'));
  path = join(directory, 'daemon.sock');
  server = await serve(path, {
    echo: (parameters) => parameters,
    nothing: () => undefined,
    fail: () => {
      throw new Error('it went wrong');
    },
    never: async () => new Promise(() => undefined),
    bulky: () => {
      bulky++;
      return 'x'.repeat(BULKY_BYTES);
    },
  });
});

afterEach(() => {
  server.close();
  rmSync(directory, { recursive: true });
});

async function connect(): Promise<DaemonClient> {
  const client = await DaemonClient.connect(path, 'node 1');
  if (client === undefined) throw new Error('nobody listens');
  return client;
}

/** Connects so many times, calls in its first breath, and writes out how each connection went. */
const CALLER = `
  const [path, times] = process.argv.slice(1);
  const call = (left) => {
    if (left === 0) return;
    const socket = require('node:net').connect(path);
    socket.write('{"id":1,"call":"bulky","arguments":{}}\\n');
    socket.on('error', () => undefined);
    socket.on('connect', () => console.log('connected'));
    socket.once('data', () => { console.log('answered'); socket.destroy(); });
    socket.on('close', () => { console.log('closed'); call(left - 1); });
  };
  call(Number(times));`;

/** Lets anybody come to the socket, and has a process of `uid` call. */
async function callAs(uid: number, times = 1): Promise<{ pid: number; heard: string[] }> {
  chmodSync(directory, 0o755);
  chmodSync(path, 0o666);
  const child = spawn(process.execPath, ['-e', CALLER, path, String(times)], {
    ...{ uid, gid: uid, cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] },
  });
  let heard = '';
  child.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  await new Promise((resolve) => child.on('close', resolve));
  return { pid: child.pid ?? 0, heard: heard.trim().split('\n') };
}

/** Sends bytes and waits until the server ends the connection. */
async function sendAndWait(bytes: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const socket = createConnection(path, () => socket.write(bytes));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      resolve();
    });
  });
}

describe('a call', () => {
  it('is answered', async () => {
    const client = await connect();

    expect(await client.call('echo', { name: 'fs', text: 'ü\n' })).toEqual({
      name: 'fs',
      text: 'ü\n',
    });
    expect(await client.call('nothing')).toBeNull();
    client.close();
  });

  it('gets its own answer when several are under way', async () => {
    const client = await connect();

    const answers = await Promise.all(
      [1, 2, 3].map(async (number) => client.call('echo', { number })),
    );

    expect(answers).toEqual([{ number: 1 }, { number: 2 }, { number: 3 }]);
    client.close();
  });

  it('fails with the error of the daemon', async () => {
    const client = await connect();

    await expect(client.call('fail')).rejects.toThrow('it went wrong');
    await expect(client.call('toString')).rejects.toThrow('no call toString');
    client.close();
  });

  it('fails when there is no answer in time', async () => {
    const client = await connect();

    await expect(client.call('never', {}, 30)).rejects.toThrow(
      'the daemon of node 1 does not answer never within 0.03 s',
    );
    client.close();
  });

  it('fails when the daemon goes away', async () => {
    const client = await connect();
    const pending = client.call('never');

    client.close();

    await expect(pending).rejects.toThrow('went away');
  });
});

describe('the socket', () => {
  it('is for its owner only', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('S8: is deaf to another user, whatever its mode, and says so once a second', async ({
    skip,
  }) => {
    if (process.getuid?.() !== 0) skip('being another user takes root');
    const log = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const times = [0, 999, 1000];
    vi.spyOn(systemClock, 'nowMs').mockImplementation(() => times.shift() ?? 0);

    const { pid, heard } = await callAs(65534, 3);

    expect(heard).toEqual(Array.from({ length: 3 }, () => ['connected', 'closed']).flat());
    expect(bulky).toBe(0);
    const told = { event: 'caller.refused', uid: 65534, pid };
    expect(log.mock.calls.map(([line]) => JSON.parse(String(line)) as unknown)).toMatchObject([
      { ...told, refused: 1 },
      { ...told, refused: 3 },
    ]);
    const client = await connect();
    expect(await client.call('echo', { own: 1 })).toEqual({ own: 1 });
    client.close();
  });

  it('S8: hears its own user and root when it is not root', async ({ skip }) => {
    if (process.getuid?.() !== 0) skip('being another user takes root');
    vi.spyOn(process, 'geteuid').mockReturnValue(65534);
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);

    const root = await connect();

    expect(await root.call('echo', { root: 1 })).toEqual({ root: 1 });
    expect((await callAs(65534)).heard).toEqual(['connected', 'answered', 'closed']);
    expect((await callAs(65533)).heard).toEqual(['connected', 'closed']);
    root.close();
  });

  it('is not found when nobody listens', async () => {
    expect(await DaemonClient.connect(join(directory, 'none'), 'node 2')).toBeUndefined();
  });

  it.each(['garbage\n', '[1]\n', '{"id":"x","call":"echo"}\n', 'null\n'])(
    'is closed on %j, and goes on for others',
    async (bytes) => {
      await sendAndWait(bytes);

      const client = await connect();
      expect(await client.call('echo', { still: 'here' })).toEqual({ still: 'here' });
      client.close();
    },
  );

  it('is closed on a line without end', async () => {
    await sendAndWait('x'.repeat(3 << 20));
  });

  it('S12: takes any bytes without harm to others', async () => {
    const random = seeded(12);
    const pieces = [
      '{"id":1,"call":"',
      'echo',
      '","arguments":',
      '{}',
      '}',
      '\n',
      '\u0000',
      '"',
      '[',
    ];
    for (let round = 0; round < 200; round++) {
      const text = Array.from({ length: 1 + Math.floor(random() * 12) }, () =>
        random() < 0.2
          ? String.fromCharCode(Math.floor(random() * 0x300))
          : (pieces[Math.floor(random() * pieces.length)] ?? ''),
      ).join('');
      await new Promise<void>((resolve) => {
        const socket = createConnection(path, () => socket.end(text));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
        socket.resume();
      });
    }
    const client = await connect();
    expect(await client.call('echo', { still: 'here' })).toEqual({ still: 'here' });
    client.close();
  });

  it('S12: reads no more of who does not read, and goes on when that does', async () => {
    const calls = 2000;
    const socket = await new Promise<Socket>((resolve) => {
      const made = createConnection(path, () => resolve(made));
    });
    for (let id = 0; id < calls; id++) socket.write(`{"id":${id},"call":"bulky"}\n`);
    const client = await connect();
    for (let before = -1; before !== bulky;) {
      before = bulky;
      for (let i = 0; i < 50; i++) await client.call('echo', { i });
    }
    // What a connection may have under way, and what the kernel holds for it.
    expect(bulky).toBeLessThan(calls / 4);

    let lines = 0;
    await new Promise<void>((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        for (const byte of chunk) if (byte === 10) lines++;
        if (lines === calls) resolve();
      });
    });
    expect(bulky).toBe(calls);
    socket.destroy();
    client.close();
  });

  it('S12: has so many connections at most, and then again', async () => {
    const sockets: Socket[] = [];
    let refused = 0;
    for (let i = 0; i < 140; i++) {
      const socket = createConnection(path);
      socket.on('error', () => undefined);
      socket.on('close', () => refused++);
      sockets.push(socket);
    }
    while (refused < 12) await new Promise((resolve) => setImmediate(resolve));
    for (const socket of sockets) socket.destroy();
    while (refused < 140) await new Promise((resolve) => setImmediate(resolve));
    for (;;) {
      const client = await DaemonClient.connect(path, 'node 1');
      const answer = await client?.call('echo', { back: 1 }).catch(() => undefined);
      client?.close();
      if (answer !== undefined) break;
    }
  });
});
