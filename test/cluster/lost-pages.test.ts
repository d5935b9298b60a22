// A member of a container shortens the file of its segment, which it may write. Method: two nodes
// with two containers; while processes of both call from node to node, the segment of one is cut to
// nothing on node 0. No process dies of it, the calls of that container end with errors, also those
// that an event loop awaits, and the other container goes on as before.
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ANY, Segment } from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { DcMember } from '../support/dc-members.ts';
import { TestPlace } from '../support/dvk-command.ts';

const SPEC = [
  'dvs: cut',
  'nodes: [{ id: 0 }, { id: 1 }]',
  'containers: [{ name: a }, { name: b }]',
];
const SLOT = 10;
const CALLS = 200;

interface Status {
  readonly problems: readonly { readonly what: string }[];
}

let place: TestPlace;
let members: DcMember[];
let segment: Segment;

const path = (node: number, dc: string): string =>
  join(place.runtime, `cut/node${node}/dc-${dc}.seg`);

async function member(node: number, dc: string, slot?: number): Promise<DcMember> {
  const made = await DcMember.start(path(node, dc), slot === undefined ? undefined : { slot });
  members.push(made);
  return made;
}

beforeAll(async () => {
  place = new TestPlace();
  members = [];
  await place.must('up', place.spec('cut.yaml', SPEC), '--detach');
  segment = Segment.open(path(0, 'a'));
});

afterAll(async () => {
  segment.close();
  for (const one of members) await one.kill();
  await place.run('down');
  const left = place.leftovers();
  await place.end();
  expect(left).toEqual([]);
});

it('ends that container on that node, and touches nothing else', async () => {
  const serverA = await member(0, 'a', SLOT);
  const silent = await member(0, 'a', SLOT + 1);
  const callerA = await member(1, 'a');
  const serverB = await member(0, 'b', SLOT);
  const callerB = await member(1, 'b');
  for (const caller of [callerA, callerB]) await caller.order({ do: 'awaitBind', slot: SLOT });
  const awaiting = segment.bind({ name: 'awaiting' });
  const received = codeOf(async () => awaiting.receive(ANY));
  const served = serverA.order({ do: 'echo', count: CALLS }).catch(String);
  const waited = callerA.codeOf({ call: 'sendrec', peer: silent.endpoint });
  void serverB.order({ do: 'echo', count: 2 * CALLS });
  const order = { do: 'calls', server: serverB.endpoint, count: CALLS, start: 0 } as const;
  await callerB.order(order);

  truncateSync(path(0, 'a'), 0);

  await callerB.order(order);
  expect(await Promise.all([received, served, waited])).toEqual([
    'EDVSDCNOTRUN',
    'Error: EDVSDCNOTRUN',
    'ENOTCONN',
  ]);
  const {
    items: [status],
  } = await place.json<{ items: Status[] }>('status');
  expect(status?.problems.map(({ what }) => what)).toEqual([
    'container a has ended on node 0: its segment is lost',
  ]);

  // What the remedy says.
  await place.must('node', 'stop', '0');
  await place.must('node', 'start', '0');
  expect((await place.run('status')).code).toBe(0);
});
