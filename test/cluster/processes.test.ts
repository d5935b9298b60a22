// `dvk proc ls` has processes in C and in TypeScript alike. Method: one of each in a running DVS,
// and the built command, as a user runs it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Segment } from '../../src/dvk/index.ts';
import { CProgram, compile, whyNoC } from '../support/c-programs.ts';
import { TestPlace } from '../support/dvk-command.ts';

const SPEC = ['dvs: mixed', 'nodes: [{ id: 0 }]', 'containers: [{ name: mol }]'];
// As in examples/c/server.c.
const C_SLOT = 20;
const TS_SLOT = 21;
const obstacle = whyNoC();

interface Items {
  readonly items: readonly { readonly slot: number; readonly pid: number }[];
}

let place: TestPlace;
let files: string;
let server: CProgram;
let segment: Segment;

describe.skipIf(obstacle !== undefined)(`dvk proc ls ${obstacle ?? ''}`, () => {
  beforeAll(async () => {
    place = new TestPlace();
    files = mkdtempSync(join(tmpdir(), 'dvk-test-'));
    compile('examples/c/server.c', join(files, 'server'));
    await place.must('up', place.spec('mixed.yaml', SPEC), '--detach');
    const path = join(place.runtime, 'mixed/node0/dc-mol.seg');
    server = await new CProgram(join(files, 'server'), path).ready();
    segment = Segment.open(path);
    segment.bind({ slot: TS_SLOT, level: 'server', name: 'typescript' });
  });
  afterAll(async () => {
    segment.close();
    server.child.kill('SIGKILL');
    await place.end();
    rmSync(files, { recursive: true, force: true });
  });

  it('lists processes in C and in TypeScript with the same fields', async () => {
    const { items } = await place.json<Items>('proc', 'ls');
    const inC = items.find(({ slot }) => slot === C_SLOT);
    const inTypeScript = items.find(({ slot }) => slot === TS_SLOT);

    expect([inC?.pid, inTypeScript?.pid]).toEqual([server.child.pid, process.pid]);
    expect(Object.keys(inC ?? {})).toEqual(Object.keys(inTypeScript ?? {}));
  });
});
