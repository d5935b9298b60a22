// Group J of the conformance list: notifications during a sendrec, and grants with safe copies, as
// MINIX has them (its programs grantor and requestor). Method: the granters are processes with
// memory of their own. Deadlocks and senda are in files of their own; what DS does comes with the
// data server. Reference: dvs.md 16.3, 16.4, 16.6 and 20.
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  slotOf,
  type Endpoint,
  type GrantId,
  type Party,
  type Process,
} from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { pattern } from '../support/dc-member.ts';
import type { DcMember } from '../support/dc-members.ts';
import { LocalDc } from '../support/local-dc.ts';

const SERVER = 10;
const BYTES = 5000;

let dc: LocalDc;
let server: Process;
beforeEach(() => {
  dc = new LocalDc();
  server = dc.server(SERVER);
});
afterEach(async () => {
  await dc.remove();
});

describe('20.J notify during a sendrec', () => {
  it('waits until the reply has come, and is received then', async () => {
    const client = await dc.member();
    const other = dc.server(11);
    const reply = client.ipc({ call: 'sendrec', peer: server.endpoint, type: 1 });
    server.rcvrqstSync(10_000);
    other.notify(client.endpoint);
    server.notify(client.endpoint);
    dc.segment.notifyKernel(client.endpoint, 1);
    expect(dc.segment.process(slotOf(client.endpoint))?.state).toBe('awaiting reply');
    server.message.type = 2;
    server.replySync(client.endpoint);

    expect(await reply).toMatchObject({ source: server.endpoint, type: 2, kind: 'send' });
    const next = await client.ipc({ call: 'receive', peer: other.endpoint, timeoutMs: 0 });
    expect(next).toMatchObject({ source: other.endpoint, kind: 'notify' });
  });

  it('to a client whose request is still queued waits as well', async () => {
    const client = await dc.member();
    const reply = client.ipc({ call: 'sendrec', peer: server.endpoint, type: 1 });
    await dc.reaches(client.endpoint, 'calling');
    server.notify(client.endpoint);
    expect(dc.segment.process(slotOf(client.endpoint))?.state).toBe('calling');
    server.rcvrqstSync(10_000);
    server.replySync(client.endpoint);

    expect(await reply).toMatchObject({ kind: 'send' });
    const next = await client.ipc({ call: 'receive', timeoutMs: 0 });
    expect(next).toMatchObject({ source: server.endpoint, kind: 'notify' });
  });
});

describe('20.J safe copies', () => {
  let granter: DcMember;
  beforeEach(async () => {
    granter = await dc.member();
    await granter.order({ do: 'fill', bytes: BYTES, seed: 1 });
  });

  async function granted(access: 'read' | 'write' | 'read-write'): Promise<GrantId> {
    return granter.order<GrantId>({ do: 'grant', access });
  }
  const party = (grant: GrantId, at = 0): Party => ({ endpoint: granter.endpoint, grant, at });

  it('safecopyfrom needs READ, and reads what was granted', async () => {
    const read = await granted('read');
    const write = await granted('write');
    const copy = new Uint8Array(BYTES);

    expect(server.vcopySync(party(read), copy, BYTES)).toBe(BYTES);
    expect(Buffer.from(copy).equals(pattern(BYTES, 1))).toBe(true);
    expect(await codeOf(() => server.vcopySync(party(write), copy, 1))).toBe('EDVSGRANT');
  });

  it('safecopyto needs WRITE, and changes the range alone', async () => {
    const read = await granted('read');
    const write = await granted('write');
    const part = pattern(100, 2);
    const expected = pattern(BYTES, 1);
    expected.set(part, 300);

    expect(server.vcopySync(part, party(write, 300), 100)).toBe(100);
    expect(await codeOf(() => server.vcopySync(part, party(read), 1))).toBe('EDVSGRANT');
    const hash = createHash('sha256').update(expected).digest('hex');
    expect(await granter.order({ do: 'hash' })).toBe(hash);
  });

  it.each([
    ['beyond its end', (grant: GrantId) => party(grant, 1), BYTES],
    ['with an offset that wraps', (grant: GrantId) => party(grant, 2 ** 53 - 1), 1],
    ['by an id that is not in use', () => party(31 as GrantId), 1],
    ['by an id that there cannot be', () => party(0x7fff_ffff as GrantId), 1],
  ])('a copy %s fails with EDVSGRANT', async (_, place, bytes) => {
    const grant = await granted('read');
    const copy = (): unknown => server.vcopySync(place(grant), new Uint8Array(BYTES), bytes);

    expect(await codeOf(copy)).toBe('EDVSGRANT');
  });

  it('a revoked id fails, and so does the next one under its index by the old id', () => {
    const owner = dc.segment.bind({ name: 'owner' });
    const memory = pattern(100, 3);
    const copy = (grant: GrantId): Promise<string> =>
      codeOf(() =>
        server.vcopySync({ endpoint: owner.endpoint, grant, at: 0 }, new Uint8Array(1), 1),
      );
    const ids = Array.from({ length: 40 }, () => {
      const id = owner.grant(memory, 'read', ANY);
      owner.revoke(id);
      return id;
    });
    const last = owner.grant(memory, 'read', ANY);

    expect(new Set([...ids, last]).size).toBe(41);
    return Promise.all(ids.map(copy)).then(async (codes) => {
      expect(new Set(codes)).toEqual(new Set(['EDVSGRANT']));
      expect(await copy(last)).toBe('none');
    });
  });

  it('a chain of indirect grants gives what all give, and has five links at most', async () => {
    const last = dc.segment.bind({ name: 'last' });
    const copy = (endpoint: Endpoint, grant: GrantId): Promise<string> =>
      codeOf(() => last.vcopySync({ endpoint, grant, at: 0 }, new Uint8Array(BYTES), BYTES));
    let [endpoint, grant] = [granter.endpoint, await granted('read')];
    const codes: string[] = [];
    for (let link = 20; link < 25; link++) {
      const server = dc.server(link);
      grant = server.grantIndirect(endpoint, grant, 'read', ANY);
      endpoint = server.endpoint;
      codes.push(await copy(endpoint, grant));
    }

    expect(codes).toEqual(['none', 'none', 'none', 'none', 'EDVSGRANT']);
  });

  it('an indirect grant gives no more than the one before, and ends with it', async () => {
    const link = dc.server(20);
    const grant = await granted('read');
    const second = link.grantIndirect(granter.endpoint, grant, 'read', ANY);
    const place = { endpoint: link.endpoint, grant: second, at: 0 };
    const memory = new Uint8Array(10);

    const more = (): unknown => link.grantIndirect(granter.endpoint, grant, 'write', ANY);
    expect(await codeOf(more)).toBe('EDVSGRANT');
    expect(await codeOf(() => server.vcopySync(memory, place, 10))).toBe('EDVSGRANT');
    expect(await codeOf(() => server.vcopySync(place, memory, 10))).toBe('none');
    await granter.exit();
    expect(await codeOf(() => server.vcopySync(place, memory, 10))).toBe('EDEADSRCDST');
  });

  it('a grant for one process is for no other, nor for the next owner of its slot', async () => {
    const memory = pattern(10, 1);
    const owner = dc.segment.bind({ name: 'owner' });
    const first = dc.server(40);
    const grant = owner.grant(memory, 'read', first.endpoint);
    const place = { endpoint: owner.endpoint, grant, at: 0 };
    const copyBy = (by: Process): Promise<string> =>
      codeOf(() => by.vcopySync(place, new Uint8Array(10), 10));

    expect(await copyBy(first)).toBe('none');
    expect(await copyBy(server)).toBe('EDVSGRANT');
    first.unbind();
    expect(await copyBy(dc.server(40))).toBe('EDVSGRANT');
  });

  it('the vectored form does its elements in order, up to the first that fails', async () => {
    const grant = await granted('read');
    const target = new Uint8Array(200);
    const elements = [
      { source: party(grant, 0), destination: target, bytes: 100 },
      { source: party(grant, 900), destination: target.subarray(100), bytes: 100 },
    ];

    expect(server.vcopyVectorSync(elements)).toBe(200);
    const memory = pattern(BYTES, 1);
    expect(Buffer.from(target.subarray(100)).equals(memory.subarray(900, 1000))).toBe(true);
    const bad = { ...elements[0]!, source: party(grant, BYTES) };
    expect(await codeOf(() => server.vcopyVectorSync([elements[0]!, bad]))).toBe('EDVSGRANT');
    expect(server.copied).toBe(100);
  });
});
