// src_notify, ntfy_value and hdw_notify: sections 5.3 and 16.4 of the M3-IPC notes. Method: all
// processes in one event loop; for another node the test carries the commands.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  CommandKind,
  KERNEL,
  Limit,
  makeEndpoint,
  nodeId,
  type Process,
} from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { describeCommand } from '../support/proxy-frames.ts';
import { TestSegment } from '../support/segments.ts';

let test: TestSegment;
let server: Process;
let clock: Process;
let client: Process;
beforeEach(() => {
  test = new TestSegment();
  server = test.segment.bind({ slot: 5, level: 'server', name: 'server' });
  clock = test.segment.bind({ slot: 6, level: 'server', name: 'clock' });
  client = test.segment.bind({ name: 'client' });
});
afterEach(() => {
  test.remove();
});

/** Receives a notification without waiting: its source and value. */
function next(process: Process, source = ANY): [number, number] {
  process.receiveSync(source, 0);
  expect(process.lastKind).toBe('notify');
  expect(process.message.type).toBe(Limit.NOTIFY_TYPE);
  return [process.message.source, process.notifyValue];
}

describe('notify with a source', () => {
  it('shows another process as the source', async () => {
    const received = client.receive(clock.endpoint);
    server.notify(client.endpoint);
    server.notify(client.endpoint, { source: clock.endpoint });
    await received;

    expect(client.message.source).toBe(clock.endpoint);
    expect(next(client)).toEqual([server.endpoint, 0]);
  });

  it('is refused to users, and for sources that are none', async () => {
    const { endpoint } = server;
    const as = async (source: number): Promise<string> =>
      codeOf(() => {
        clock.notify(endpoint, { source: source as never });
      });

    expect(
      await codeOf(() => {
        client.notify(endpoint, { source: clock.endpoint });
      }),
    ).toBe('ETRAPDENIED');
    expect(await as(KERNEL)).toBe('ETRAPDENIED');
    expect(await as(ANY)).toBe('ERANGE');
    expect(await as(makeEndpoint(9))).toBe('EDEADSRCDST');
    expect(server.receiveRaw(ANY, 0)).toBe(-11);
  });
});

describe('notify with a value', () => {
  it('merges the values of a source until they are received', () => {
    clock.notify(client.endpoint, { value: 1 });
    clock.notify(client.endpoint, { value: Limit.NOTIFY_VALUE_MAX - 1 });
    server.notify(client.endpoint, { source: clock.endpoint, value: 1 });
    server.notify(client.endpoint, { value: 2 });

    expect(next(client)).toEqual([server.endpoint, 2]);
    expect(next(client)).toEqual([clock.endpoint, Limit.NOTIFY_VALUE_MAX]);
    clock.notify(client.endpoint);
    expect(next(client)).toEqual([clock.endpoint, 0]);
    expect(client.receiveRaw(ANY, 0)).toBe(-11);
  });

  it('is for sources in fixed slots', async () => {
    const code = await codeOf(() => {
      client.notify(server.endpoint, { value: 1 });
    });

    expect(code).toBe('EDVSENDPOINT');
  });

  it('leaves a sendrec alone', async () => {
    const call = client.sendrec(server.endpoint);
    server.rcvrqstSync();
    server.notify(client.endpoint, { value: 1 });
    test.segment.notifyKernel(client.endpoint, 2);
    server.message.type = 9;
    server.replySync(client.endpoint);
    await call;

    expect(client.message.type).toBe(9);
    expect(next(client)).toEqual([KERNEL, 2]);
    expect(next(client)).toEqual([server.endpoint, 1]);
  });

  it('crosses to another node in the payload of NTFY_MSG', async () => {
    const proxies = new HandProxies(2);
    try {
      const far = proxies.server(10, 1);
      const near = proxies.server(11, 0);
      near.notify(far.endpoint, { value: 5 });
      near.notify(far.endpoint, { value: 8 });
      const carried = proxies.settle();

      expect(carried.map(({ command }) => describeCommand(command)['kind'])).toEqual([
        CommandKind.NTFY_MSG,
      ]);
      expect(next(far)).toEqual([near.endpoint, 13]);
    } finally {
      await proxies.remove();
    }
  });
});

describe('a notification of KERNEL', () => {
  it('comes before all others, and can be received alone', async () => {
    clock.notify(server.endpoint);
    test.segment.notifyKernel(server.endpoint, 1);
    test.segment.notifyKernel(server.endpoint, 4);
    expect(next(server)).toEqual([KERNEL, 5]);
    expect(next(server)).toEqual([clock.endpoint, 0]);

    const received = server.receive(KERNEL);
    clock.notify(server.endpoint);
    test.segment.notifyKernel(server.endpoint);
    await received;
    expect([server.message.source, server.notifyValue]).toEqual([KERNEL, 0]);
  });

  it('is sent by processes of level kernel, to processes of their node', async () => {
    const driver = test.segment.bind({ slot: 1, level: 'kernel', name: 'driver' });
    driver.notify(server.endpoint, { source: KERNEL, value: 3 });
    expect(next(server)).toEqual([KERNEL, 3]);

    test.segment.addNode(nodeId(1), 'n1');
    const far = makeEndpoint(20);
    test.segment.bindRemote(far, nodeId(1), 'server', 'far');
    expect(
      await codeOf(() => {
        test.segment.notifyKernel(far);
      }),
    ).toBe('EDVSRMTPROC');
    expect(
      await codeOf(() => {
        test.segment.notifyKernel(makeEndpoint(21));
      }),
    ).toBe('EDEADSRCDST');
  });
});
