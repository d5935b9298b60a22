// What a client of the FS protocol makes of time-outs. Method: a server in this process that leaves
// some requests without an answer, and a clock that only it moves, by which an attempt waits for a
// second.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Process } from '../../../src/dvk/index.ts';
import { FsClient } from '../../../src/vos/client/fs-client.ts';
import { XattrFlag } from '../../../src/vos/protocol/fs-change.ts';
import { FsCall } from '../../../src/vos/protocol/fs.ts';
import { ManualClock } from '../../support/fuse-messages.ts';
import { LocalDc } from '../../support/local-dc.ts';

const SLOT = 3;
const CALL_MS = 1000;
const FILE = { inode: 12, generation: 1 };

let dc: LocalDc;
let clock: ManualClock;
let server: Process;
let client: FsClient;
/** FSYNCs that have come, and how many of them get no answer. */
let syncs: number;
let silentSyncs: number;
/** What happens when one comes that gets no answer. */
let whenSilent: () => void;
let serving: Promise<void>;

async function serve(): Promise<void> {
  for (;;) {
    await server.rcvrqst();
    const { message } = server;
    if (message.type === FsCall.FSYNC && ++syncs <= silentSyncs) {
      // The client has to wait for it by then.
      setImmediate(whenSilent);
      continue;
    }
    message.type = 0;
    server.replySync(message.source, server.lastCall);
  }
}

beforeEach(() => {
  dc = new LocalDc();
  clock = new ManualClock();
  server = dc.segment.bind({ name: 'fs', level: 'server', slot: SLOT, awaitable: true });
  const options = { name: 'c', clock, channels: 2, callMs: CALL_MS, outageMs: 1000 };
  client = new FsClient(dc.segment, { ...options, serverSlot: SLOT });
  syncs = 0;
  whenSilent = () => undefined;
  serving = serve().catch(() => undefined);
});

afterEach(async () => {
  client.close();
  server.unbind();
  await serving;
  await dc.remove();
});

it('is a slow server if others are answered meanwhile', async () => {
  silentSyncs = 2;
  whenSilent = () => {
    void client.getAttributes(FILE).then(() => {
      clock.advance(1500);
    });
  };

  await client.sync(FILE, 0);

  expect(syncs).toBe(3);
});

it('is no sign of anything on a machine that stood still', async () => {
  silentSyncs = 2;
  whenSilent = () => {
    clock.advance(CALL_MS + 1500);
  };

  await client.sync(FILE, 0);

  expect(syncs).toBe(3);
});

it('is an outage otherwise: EIO', async () => {
  silentSyncs = Infinity;
  whenSilent = () => {
    clock.advance(1500);
  };

  await expect(client.sync(FILE, 0)).rejects.toMatchObject({ code: 'EIO' });

  expect(syncs).toBe(1);
});

it('is EIO after a minute in any case', async () => {
  silentSyncs = Infinity;
  whenSilent = () => {
    clock.advance(61_000);
  };

  await expect(client.sync(FILE, 0)).rejects.toMatchObject({ code: 'EIO' });

  expect(syncs).toBe(1);
});

describe('a server that ends, and one that takes its place', () => {
  const bind = (): Process =>
    dc.segment.bind({ name: 'fs', level: 'server', slot: SLOT, awaitable: true });

  beforeEach(async () => {
    server.unbind();
    await serving;
    server = bind();
  });

  /** Something that may not be done twice; what it came to when another server serves. */
  async function change(meanwhile: () => Promise<void>): Promise<string> {
    const name = Buffer.from('user.a');
    const outcome = client.setXattr(FILE, name, Buffer.from('b'), XattrFlag.CREATE).then(
      () => 'done',
      (error: unknown) => (error as { code: string }).code,
    );
    await meanwhile();
    server.unbind();
    server = bind();
    serving = serve().catch(() => undefined);
    let ended: string | undefined;
    void outcome.then((told) => (ended = told));
    while (ended === undefined) {
      clock.advance(10);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return ended;
  }

  it('does what the one before has not taken', async () => {
    const channel = dc.segment.processes().find(({ name }) => name === 'c');
    expect(await change(async () => dc.reaches(channel!.endpoint, 'calling'))).toBe('done');
  });

  it('does nothing that the one before may have done: EIO', async () => {
    const taken = async (): Promise<void> => server.rcvrqst();
    expect(await change(taken)).toBe('EIO');
  });
});
