// What section 5.7 of the notes on the authors' work says of the unbind of another process, and of
// warn2proc. Method: members of a DC that are processes of their own; calls that wait are blocking
// ones in them, or awaited where that is said. What happens to those who wait for a process that
// goes is in group-a-local.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  KERNEL,
  Limit,
  makeEndpoint,
  nodeId,
  type Departure,
  type Endpoint,
} from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { LocalDc } from '../support/local-dc.ts';

const SLOT = 10;

let dc: LocalDc;
beforeEach(() => {
  dc = new LocalDc();
});
afterEach(async () => {
  await dc.remove();
});

describe('5.7 unbind of another process', () => {
  it('ends its program by SIGTERM, and is over when the slot is free', async () => {
    const caller = dc.segment.bind({ name: 'caller' });
    const member = await dc.member({ slot: SLOT });
    const waits = codeOf(() => caller.receive(member.endpoint));

    await dc.segment.unbindFor(member.endpoint);

    expect(dc.segment.process(SLOT)).toBeUndefined();
    expect(await waits).toBe('ESRCDIED');
    expect(await codeOf(() => dc.segment.unbindFor(member.endpoint))).toBe('EDEADSRCDST');
  });

  it('ends the call of one that takes no notice of SIGTERM, which stays bound', async () => {
    const { segment } = dc;
    const member = await dc.member({ slot: SLOT });
    await member.order({ do: 'ignore' });
    for (const [timeoutMs, code] of [
      [30, 'ETIMEDOUT'],
      [0, 'EAGAIN'],
    ] as const) {
      const call = member.codeOf({ call: 'receive' });
      await dc.reaches(member.endpoint, 'receiving any');
      const begun = performance.now();

      expect(await codeOf(() => segment.unbindFor(member.endpoint, timeoutMs))).toBe(code);

      expect(performance.now() - begun).toBeGreaterThanOrEqual(timeoutMs);
      expect(await call).toBe('EDVSSHUTDOWN');
      expect(segment.isBound(member.endpoint)).toBe(true);
    }
  });

  it('ends awaited calls, too', async () => {
    const { segment } = dc;
    const silent = dc.server(1);
    const member = await dc.member({ slot: SLOT });
    await member.order({ do: 'ignore' });
    for (const [call, state] of [
      ['receive', 'receiving from'],
      ['rcvrqst', 'receiving request'],
      ['send', 'sending'],
      ['sendrec', 'calling'],
    ] as const) {
      const ended = member.codeOfAwaited(call, silent.endpoint);
      await dc.reaches(member.endpoint, state);

      expect(await codeOf(() => segment.unbindFor(member.endpoint, 0))).toBe('EAGAIN');

      expect(await ended, call).toBe('EDVSSHUTDOWN');
    }
    // Nothing of them is left.
    expect(await codeOf(() => silent.receiveSync(ANY, 0))).toBe('EAGAIN');
    const again = member.codeOfAwaited('receive', silent.endpoint);
    await dc.reaches(member.endpoint, 'receiving from');
    silent.sendSync(member.endpoint);
    expect(await again).toBe('none');
  });

  it('is over, too, when the process unbinds by itself', async () => {
    const member = await dc.member({ slot: SLOT });
    await member.order({ do: 'ignore' });
    const call = member.codeOf({ call: 'receive' });
    await dc.reaches(member.endpoint, 'receiving any');
    const unbound = dc.segment.unbindFor(member.endpoint, 10_000);
    expect(await call).toBe('EDVSSHUTDOWN');

    await member.ipc({ call: 'unbind' });

    await unbound;
    expect(dc.segment.departures.since(1)).toMatchObject([{ pid: member.pid, died: false }]);
  });

  it('fails with its own errors', async () => {
    const { segment } = dc;
    const own = dc.server(SLOT);
    const far = makeEndpoint(20);
    segment.addNode(nodeId(1), 'n1');
    segment.bindRemote(far, nodeId(1), 'server', 'far');
    const unbindFor = (endpoint: Endpoint): Promise<string> =>
      codeOf(() => segment.unbindFor(endpoint, 0));

    expect(await unbindFor(own.endpoint)).toBe('EDVSENDPOINT');
    expect(await unbindFor(far)).toBe('EDVSRMTPROC');
    expect(await unbindFor(makeEndpoint(21))).toBe('EDEADSRCDST');
    expect(await unbindFor(ANY)).toBe('ERANGE');
    segment.endContainer();
    expect(await unbindFor(own.endpoint)).toBe('EDVSDCNOTRUN');
  });

  it('frees a slot that its program has not taken, without a signal', async () => {
    const { segment } = dc;
    // The parent of this process would not be asked twice.
    const endpoint = segment.bindFor(process.ppid, { name: 'never', slot: SLOT });

    await segment.unbindFor(endpoint, 0);

    expect(segment.process(SLOT)).toBeUndefined();
  });
});

describe('5.7 warn2proc', () => {
  it('is notified of each process that goes, and finds out which', async () => {
    const { departures } = dc.segment;
    const watcher = dc.server(1);
    departures.setWarned(watcher.endpoint, 8);
    const member = await dc.member({ slot: SLOT });
    const waits = watcher.receive(KERNEL);

    await member.kill();
    dc.segment.reap(SLOT, member.endpoint);
    await waits;

    expect([watcher.lastKind, watcher.message.source, watcher.notifyValue]).toEqual([
      ...['notify', KERNEL],
      8,
    ]);
    const found: Departure[] = departures.since(1);
    expect(found).toEqual([
      {
        ...{ number: 1, endpoint: member.endpoint, pid: member.pid, name: `member${SLOT}` },
        ...{ level: 'server', died: true },
      },
    ]);
    expect(departures.since(2)).toEqual([]);
  });

  it('loses none while it does not receive', async () => {
    const watcher = dc.server(1);
    dc.segment.departures.setWarned(watcher.endpoint);
    const gone = ['a', 'b', 'c'].map((name) => {
      const one = dc.segment.bind({ name });
      one.unbind();
      return one.endpoint;
    });

    watcher.receiveSync(ANY, 0);
    expect(await codeOf(() => watcher.receiveSync(ANY, 0))).toBe('EAGAIN');

    expect(dc.segment.departures.since(0).map(({ endpoint }) => endpoint)).toEqual(gone);
  });

  it('that looks late can tell how many it has missed', () => {
    for (let n = 0; n < Limit.DEPARTURES + 5; n++) dc.segment.bind({ name: 'brief' }).unbind();

    const found = dc.segment.departures.since(1);

    expect(found.map(({ number }) => number)).toEqual(
      Array.from({ length: Limit.DEPARTURES }, (_, i) => 6 + i),
    );
  });

  it('is one process of this node, or nobody', async () => {
    const { departures } = dc.segment;
    const [first, second] = [dc.server(1), dc.server(2)];
    const far = makeEndpoint(20);
    dc.segment.addNode(nodeId(1), 'n1');
    dc.segment.bindRemote(far, nodeId(1), 'server', 'far');
    const refused = (endpoint: Endpoint): Promise<string> =>
      codeOf(() => {
        departures.setWarned(endpoint);
      });

    departures.setWarned(first.endpoint);
    departures.setWarned(second.endpoint);
    dc.segment.bind({ name: 'brief' }).unbind();
    expect(await codeOf(() => first.receiveSync(ANY, 0))).toBe('EAGAIN');
    second.receiveSync(ANY, 0);

    departures.setWarned(undefined);
    dc.segment.bind({ name: 'brief' }).unbind();
    expect(await codeOf(() => second.receiveSync(ANY, 0))).toBe('EAGAIN');
    expect(await refused(far)).toBe('EDVSRMTPROC');
    expect(await refused(makeEndpoint(21))).toBe('EDEADSRCDST');
    expect(await refused(ANY)).toBe('ERANGE');
  });
});
