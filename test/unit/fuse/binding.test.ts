// The addon's poll and FUSE functions: wrong arguments and descriptors, exceptions in a callback,
// ends of environments.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { FuseDevice } from '../../../src/vos/fuse/device.ts';

const { EBADF, EINVAL, ENOENT, EPERM } = constants.errno;
const BUILT = fileURLToPath(new URL('../../../native/build/Release/dvk.node', import.meta.url));
const ADDON = process.env['DVK_ADDON'] ?? BUILT;
const isBuilt = existsSync(ADDON);
if (!isBuilt) process.stdout.write(`fuse binding: skipped, not built: ${ADDON}\n`);

describe.skipIf(!isBuilt)('the FUSE binding', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dvk-binding-'));
  const fifo = join(folder, 'fifo');
  afterAll(() => rmSync(folder, { recursive: true }));

  function addon(): FuseDevice {
    return createRequire(import.meta.url)(ADDON) as FuseDevice;
  }

  /** Runs a script in a process of its own, with the addon and a readable FIFO at hand. */
  function run(script: string): { status: number | null; out: string } {
    spawnSync('sh', ['-c', 'mkfifo "$0"', fifo]);
    const head = `
      const { worker, fs, addon, fifo } = {
        worker: require('node:worker_threads'), fs: require('node:fs'),
        addon: require(${JSON.stringify(ADDON)}), fifo: ${JSON.stringify(fifo)} };
      const fd = fs.openSync(fifo, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);`;
    const options = { encoding: 'utf8', timeout: 10_000 } as const;
    const result = spawnSync(process.execPath, ['-e', head + script], options);
    return { status: result.status, out: result.stdout + result.stderr };
  }

  it('throws TypeError for wrong arguments', () => {
    const { fuseMount, fuseRead, fuseUnmount, fuseWrite, fuseClose, pollStart, pollStop } =
      addon() as unknown as Record<string, (...words: unknown[]) => number>;
    const bytes = new Uint8Array(16);
    const request = { source: 'dvk:x', data: '', flags: 0 };
    const wrong: [string, () => unknown][] = [
      ['mount nothing', () => fuseMount?.()],
      ['mount with a NUL', () => fuseMount?.('/a\0b', request, bytes)],
      ['mount without room', () => fuseMount?.('/a', request, new Uint8Array(0))],
      ['source with a comma', () => fuseMount?.('/a', { ...request, source: 'a,b' }, bytes)],
      ['unknown flags', () => fuseMount?.('/a', { ...request, flags: 1 << 20 }, bytes)],
      ['unmount', () => fuseUnmount?.('/a')],
      ['read into words', () => fuseRead?.(1, new Uint32Array(4))],
      ['read below zero', () => fuseRead?.(-1, bytes)],
      ['write beyond the head', () => fuseWrite?.(1, bytes, 17)],
      ['write a string', () => fuseWrite?.(1, bytes, 16, 'x')],
      ['close', () => fuseClose?.('x')],
      ['poll without a callback', () => pollStart?.(0, 7)],
      ['stop', () => pollStop?.()],
    ];
    for (const [what, call] of wrong) expect(call, what).toThrow(TypeError);
  });

  it('returns -errno for what the system refuses', () => {
    const device = addon();
    const closed = 0x7fff_fff0;
    const bytes = new Uint8Array(16);
    expect(device.fuseRead(closed, bytes)).toBe(-EBADF);
    expect(device.fuseWrite(closed, bytes, 16, bytes)).toBe(-EBADF);
    expect(device.fuseClose(closed)).toBe(-EBADF);
    expect(device.pollStart(closed, () => undefined)).toBe(-EBADF);
    expect(device.pollStop(12_345)).toBe(-EBADF);
    const none = join(folder, 'none');
    const request = { source: 'dvk:x', data: '', flags: 0 };
    expect([-ENOENT, -EPERM]).toContain(device.fuseMount(none, request, new Uint8Array(300)));
    expect([-ENOENT, -EPERM, -EINVAL]).toContain(device.fuseUnmount(none, true));
  });

  it('writes head and payload as one, also out of shared memory', () => {
    const { status, out } = run(`
      const head = Buffer.from('head....');
      const payload = new Uint8Array(new SharedArrayBuffer(8), 2, 4);
      payload.set(Buffer.from('body'));
      const got = Buffer.alloc(64);
      console.log(addon.fuseWrite(fd, head, 4, payload), addon.fuseWrite(fd, head, 5));
      console.log(got.toString('latin1', 0, addon.fuseRead(fd, got)));`);
    expect({ status, out }).toEqual({ status: 0, out: '8 5\nheadbodyhead.\n' });
  });

  it('calls back while there is something to read, and stops from within', () => {
    const { status, out } = run(`
      let calls = 0;
      const id = addon.pollStart(fd, (status, events) => {
        console.log(status, events & 1);
        queueMicrotask(() => console.log('microtask'));
        if (++calls === 2) { fs.readSync(fd, Buffer.alloc(9)); addon.pollStop(id); }
      });
      fs.writeSync(fd, 'x');`);
    expect({ status, out }).toEqual({ status: 0, out: '0 1\nmicrotask\n0 1\nmicrotask\n' });
  });

  it('makes an exception in the callback an uncaught one', () => {
    const { status, out } = run(`
      process.on('uncaughtException', (error) => {
        console.log(error.message);
        addon.pollStop(id);
      });
      const id = addon.pollStart(fd, () => { throw new Error('from the callback'); });
      fs.writeSync(fd, 'x');`);
    expect({ status, out }).toEqual({ status: 0, out: 'from the callback\n' });
  });

  it('ends with its environment: a worker terminated, a worker and a process that exit', () => {
    const polling = `
      const { workerData, parentPort } = require('node:worker_threads');
      const addon = require(workerData.path);
      addon.pollStart(workerData.fd, () => undefined);
      addon.pollStart(workerData.other, () => undefined);`;
    const { status, out } = run(`
      const other = fs.openSync(fifo, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
      const workerData = { path: ${JSON.stringify(ADDON)}, fd, other };
      const source = ${JSON.stringify(polling)};
      const begin = (more) =>
        new worker.Worker(source + more, { eval: true, workerData });
      (async () => {
        for (let i = 0; i < 5; i++) {
          const first = begin('parentPort.postMessage(1)');
          await new Promise((done) => first.once('message', done));
          await first.terminate();
          const second = begin('process.exit(3)');
          console.log(await new Promise((done) => second.once('exit', done)));
        }
        addon.pollStart(fd, () => undefined);
        process.exit(4);
      })();`);
    expect({ status, out }).toEqual({ status: 4, out: '3\n'.repeat(5) });
  });
});
