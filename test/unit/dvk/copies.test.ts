// Two copies of the library and of the addon in one program: as when two packages bring their own.
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type * as dvk from '../../../src/dvk/index.ts';
import { ANY, type Segment } from '../../../src/dvk/index.ts';
import { TestSegment } from '../../support/segments.ts';

const ROOT = join(import.meta.dirname, '../../..');
const ADDON = 'native/build/Release/dvk.node';

let folder: string;
let test: TestSegment;
let other: Segment;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dvk-test-'));
  cpSync(join(ROOT, 'dist/src/dvk'), join(folder, 'dist/src/dvk'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(folder, 'package.json'));
  mkdirSync(join(folder, ADDON, '..'), { recursive: true });
  cpSync(join(ROOT, ADDON), join(folder, ADDON));
  const index = pathToFileURL(join(folder, 'dist/src/dvk/index.js')).href;
  const library = (await import(index)) as typeof dvk;
  test = new TestSegment();
  other = library.Segment.open(test.path);
});

afterAll(() => {
  test.remove();
  rmSync(folder, { recursive: true, force: true });
});

it('call each other, each woken by a FIFO of its own', async () => {
  const server = other.bind({ name: 'server', level: 'server' });
  const client = test.segment.bind({ name: 'client' });
  const serve = async (): Promise<void> => {
    for (let i = 0; i < 3; i++) {
      await server.rcvrqst();
      server.message.type++;
      server.replySync(server.message.source);
    }
  };
  const served = serve();
  for (let i = 0; i < 3; i++) {
    client.message.type = i;
    await client.sendrec(server.endpoint);
    expect(client.message.type).toBe(i + 1);
  }
  await served;
  const received = client.receive(ANY);
  server.notify(client.endpoint);
  await received;
  expect(client.message.source).toBe(server.endpoint);
  expect(test.fifos()).toHaveLength(2);

  server.unbind();
  client.unbind();
  expect(test.segment.processes()).toEqual([]);
  other.close();
  expect(test.fifos()).toHaveLength(1);
  test.segment.close();
  expect(test.fifos()).toHaveLength(0);
});
