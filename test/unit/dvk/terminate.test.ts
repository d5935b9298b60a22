// A Worker is terminated inside a call that makes objects. Nothing can be made or thrown there any
// more, and that must not abort the process.
// Method: a child process ends Workers at random moments, and says how many processes stay bound.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { TestSegment } from '../../support/segments.ts';

const ADDON = fileURLToPath(new URL('../../../native/build/Release/dvk.node', import.meta.url));
const WORKERS = 40;

const LOOP = `
  const { workerData, parentPort } = require('node:worker_threads');
  const addon = require(workerData.addon);
  const segment = addon.segmentOpen(workerData.path);
  const bound = addon.bind(segment, Int32Array.of(-1, 1, 0, 0, 0), 'worker', 0);
  const attempt = (call) => { try { call(); } catch {} };
  parentPort.postMessage('ready');
  for (;;) {
    addon.segmentProcesses(segment);
    addon.segmentInfo(segment);
    addon.abiLayout();
    addon.processWindow(bound);
    attempt(() => addon.lookup('x'));
    attempt(() => addon.segmentCreate('', {}));
  }`;

const MAIN = `
  const { Worker } = require('node:worker_threads');
  const { addon, path, loop, count } = JSON.parse(process.argv[1]);
  const native = require(addon);
  const segment = native.segmentOpen(path);
  (async () => {
    for (let i = 0; i < count; i++) {
      const worker = new Worker(loop, { eval: true, workerData: { addon, path } });
      await new Promise((done) => worker.once('message', done));
      await new Promise((done) => setTimeout(done, Math.random() * 4));
      await worker.terminate();
    }
    console.log(native.segmentProcesses(segment).length);
  })();`;

it('leaves the process alive', { timeout: 60_000 }, () => {
  const test = new TestSegment();
  try {
    const told = JSON.stringify({ addon: ADDON, path: test.path, loop: LOOP, count: WORKERS });
    const result = spawnSync(process.execPath, ['-e', MAIN, told], { encoding: 'utf8' });
    const { status, signal, stdout, stderr } = result;

    expect({ status, signal, stdout, stderr }).toEqual({
      status: 0,
      signal: null,
      stdout: '0\n',
      stderr: '',
    });
  } finally {
    test.remove();
  }
});
