// `dvk migrate` moves a process between the nodes of a running DVS. Method: a server and its backup
// are bound in the segments of two nodes, and the built command is run as a user runs it.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatEndpoint, isDvkError, nodeId, Segment, type Process } from '../../src/dvk/index.ts';
import { TestPlace } from '../support/dvk-command.ts';

const SPEC = ['dvs: moving', 'nodes: [{ id: 0 }, { id: 1 }]', 'containers: [{ name: mol }]'];
const SLOT = 21;

let place: TestPlace;
const segments: Segment[] = [];

/** Answers requests with the number of the node, until the process is unbound. */
async function serve(server: Process, node: number): Promise<void> {
  for (;;) {
    try {
      await server.rcvrqst();
      server.message.type = 100 + node;
      server.replySync(server.message.source);
    } catch (error) {
      if (isDvkError(error, 'EDVSMIGRATING')) continue;
      if (isDvkError(error)) return;
      throw error;
    }
  }
}

describe('dvk migrate', () => {
  let server: Process;
  let client: Process;

  beforeAll(async () => {
    place = new TestPlace();
    await place.must('up', place.spec('moving.yaml', SPEC), '--detach');
    for (const node of [0, 1]) {
      segments.push(Segment.open(join(place.runtime, `moving/node${node}/dc-mol.seg`)));
    }
    const [home, target] = segments as [Segment, Segment];
    server = home.bind({ slot: SLOT, level: 'server', name: 'mover' });
    client = home.bind({ name: 'client' });
    while (!target.isBound(server.endpoint)) await new Promise((resolve) => setImmediate(resolve));
    const primary = { endpoint: server.endpoint, node: nodeId(0) };
    const backup = target.bind({ level: 'server', name: 'mover', backup: primary });
    void serve(server, 0);
    void serve(backup, 1);
  });
  afterAll(async () => {
    for (const segment of segments) segment.close();
    await place.end();
  });

  async function answering(): Promise<number> {
    await client.sendrec(server.endpoint);
    return client.message.type - 100;
  }

  it('moves a process by name there, and by endpoint back', async () => {
    expect(await answering()).toBe(0);

    const there = await place.json('migrate', 'mol/mover', '--to', '1');
    expect(there).toMatchObject({ container: 'mol', endpoint: server.endpoint, from: 0, to: 1 });
    expect(await answering()).toBe(1);

    const address = `mol/${formatEndpoint(server.endpoint)}`;
    expect(await place.json('migrate', address, '--to', '0')).toMatchObject({ from: 1, to: 0 });
    expect(await answering()).toBe(0);
  });

  it('says what is wrong, and leaves the process where it is', async () => {
    const refused = async (...args: string[]): Promise<string> => {
      const { code, stderr } = await place.run('migrate', ...args);
      expect(code).toBe(1);
      return stderr;
    };
    expect(await refused('mol/nobody', '--to', '1')).toContain('there is no process mol/nobody');
    expect(await refused('mol/mover', '--to', '7')).toContain('no node 7');
    expect(await refused('mol/mover', '--to', '0')).toContain('EDVSLCLPROC');
    expect(await refused('mol/client', '--to', '1')).toContain('Only processes in fixed slots');
    expect(await answering()).toBe(0);
  });
});
