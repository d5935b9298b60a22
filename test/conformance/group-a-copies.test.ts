// The copies of group A of section 20 of the notes on the authors' work: test_vcopy 1 to 4 and
// test_lclvcopy of section 14.1, and what bad copies come to (5.4). Method: the parties are
// processes with memory of their own. M3-IPC lets a requester name any address of a process that
// waits; here a party's memory is lent by a grant, or by a sendrec to the requester.
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  addressOf,
  ANY,
  Limit,
  makeEndpoint,
  NONE,
  PAYLOAD_OFFSET,
  type Endpoint,
  type GrantId,
  type Process,
} from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { pattern } from '../support/dc-member.ts';
import type { DcMember } from '../support/dc-members.ts';
import { LocalDc } from '../support/local-dc.ts';

const SERVER = 10;
const BYTES = 70_000;
const KIB = 1024;

let dc: LocalDc;
let server: Process;
beforeEach(() => {
  dc = new LocalDc();
  server = dc.server(SERVER);
});
afterEach(async () => {
  await dc.remove();
});

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A user with a buffer of `bytes`, granted to anyone. */
async function lender(bytes: number, seed: number): Promise<[DcMember, GrantId]> {
  const member = await dc.member();
  await member.order({ do: 'fill', bytes, seed });
  return [member, await member.order<GrantId>({ do: 'grant', access: 'read-write' })];
}

/** The address that a member's `lend` told, of memory that holds still until the reply. */
function lentBy(client: DcMember): { endpoint: Endpoint; address: bigint } {
  server.rcvrqstSync(10_000);
  expect(server.message.source).toBe(client.endpoint);
  return {
    endpoint: client.endpoint,
    address: server.message.view.getBigUint64(PAYLOAD_OFFSET, true),
  };
}

describe('copies', () => {
  it('20.A test_vcopy: the requester is the source, the client waits in a receive', async () => {
    const [client, grant] = await lender(BYTES, 1);
    const received = client.ipc({ call: 'receive', peer: server.endpoint });
    await dc.reaches(client.endpoint, 'receiving from');
    const place = { endpoint: client.endpoint, grant, at: 0 };

    expect(server.vcopySync(pattern(BYTES, 2), place, BYTES)).toBe(BYTES);
    server.sendSync(client.endpoint);
    await received;
    expect(await client.order({ do: 'hash' })).toBe(hashOf(pattern(BYTES, 2)));
  });

  it('20.A test_vcopy2: from the server to a client in its sendrec', async () => {
    const client = await dc.member();
    const after = client.order({ do: 'lend', server: server.endpoint, bytes: BYTES, seed: 3 });

    server.vcopySync(pattern(BYTES, 4), lentBy(client), BYTES);
    server.replySync(client.endpoint);
    expect(await after).toBe(hashOf(pattern(BYTES, 4)));
  });

  it('20.A test_vcopy3: from a client in its sendrec to the server', async () => {
    const client = await dc.member();
    const after = client.order({ do: 'lend', server: server.endpoint, bytes: BYTES, seed: 5 });
    const copy = new Uint8Array(BYTES);

    server.vcopySync(lentBy(client), copy, BYTES);
    server.replySync(client.endpoint);
    expect(hashOf(copy)).toBe(await after);
  });

  it('20.A test_vcopy4: a third party copies from client 1 to client 2', async () => {
    const [first, second] = await Promise.all([dc.member(), dc.member()]);
    const lend = { do: 'lend', server: server.endpoint, bytes: BYTES } as const;
    const before = first.order({ ...lend, seed: 6 });
    const from = lentBy(first);
    const after = second.order({ ...lend, seed: 7 });
    const to = lentBy(second);

    expect(server.vcopySync(from, to, BYTES)).toBe(BYTES);
    server.replySync(first.endpoint);
    server.replySync(second.endpoint);
    expect(await after).toBe(hashOf(pattern(BYTES, 6)));
    expect(await before).toBe(hashOf(pattern(BYTES, 6)));
  });

  it('20.A test_lclvcopy: every size up to 1 MiB, across the limits of 64 KiB', async () => {
    const sizes = [1, 2, 63, 4095, 4096, 4097, 32 * KIB];
    for (let limit = 64; limit <= KIB; limit *= 2) {
      sizes.push(limit * KIB - 1, limit * KIB, limit * KIB + 1);
    }
    const [client, grant] = await lender(2 * KIB * KIB, 8);
    const expected = pattern(2 * KIB * KIB, 8);
    const place = { endpoint: client.endpoint, grant, at: 5 };
    const broken = sizes.filter((bytes) => {
      const copy = new Uint8Array(bytes + 1).fill(0xa5);
      expect(server.vcopySync(place, copy, bytes)).toBe(bytes);
      const right = Buffer.from(copy.subarray(0, bytes)).equals(expected.subarray(5, 5 + bytes));
      return !right || copy[bytes] !== 0xa5;
    });

    expect(broken).toEqual([]);
  });
});

describe('bad copies', () => {
  it('20.A fail with the code of what is wrong with a party', async () => {
    const [owner, grant] = await lender(100, 9);
    const own = new Uint8Array(100);
    const place = { endpoint: owner.endpoint, grant, at: 0 };
    const copy = (from: typeof place, bytes: number): Promise<string> =>
      codeOf(() => server.vcopySync(from, own, bytes));

    expect(await copy(place, 100)).toBe('none');
    expect(await copy(place, 0)).toBe('none');
    expect(await copy({ ...place, at: 1 }, 100)).toBe('EDVSGRANT');
    expect(await copy({ ...place, endpoint: ANY }, 1)).toBe('EDVSENDPOINT');
    expect(await copy({ ...place, endpoint: NONE }, 1)).toBe('EDVSENDPOINT');
    expect(await copy({ ...place, endpoint: makeEndpoint(300) }, 1)).toBe('ERANGE');
    expect(await copy({ ...place, endpoint: makeEndpoint(200) }, 1)).toBe('EDEADSRCDST');
    expect(await codeOf(() => server.vcopySync(own, own, 1))).toBe('EDVSENDPOINT');
    expect(() => server.vcopySync(place, own, Limit.COPY_BYTES_MAX + 1)).toThrow(RangeError);
  });

  it('20.A of a process that does not wait for the requester fail: EDVSGRANT', async () => {
    const client = dc.segment.bind({ name: 'client' });
    const memory = new Uint8Array(10);
    const place = { endpoint: client.endpoint, address: addressOf(memory) };
    const copy = (): Promise<string> =>
      codeOf(() => server.vcopySync(place, new Uint8Array(10), 10));

    expect(await copy()).toBe('EDVSGRANT');
    const call = client.sendrec(server.endpoint);
    server.rcvrqstSync();
    expect(await copy()).toBe('none');
    server.replySync(client.endpoint);
    await call;
    expect(await copy()).toBe('EDVSGRANT');
  });

  it('20.A during a call of the requester fail: EBUSY', async () => {
    const [owner, grant] = await lender(100, 9);
    const place = { endpoint: owner.endpoint, grant, at: 0 };
    const waiting = codeOf(() => server.receive(ANY));

    expect(await codeOf(() => server.vcopySync(place, new Uint8Array(1), 1))).toBe('EBUSY');
    server.unbind();
    expect(await waiting).toBe('ECANCELED');
  });

  it('20.A between two others, of a user process, fail: EPERM', async () => {
    const [[first, from], [second, to]] = await Promise.all([lender(10, 1), lender(10, 2)]);
    const user = dc.segment.bind({ name: 'user' });
    const code = await codeOf(() =>
      user.vcopySync(
        { endpoint: first.endpoint, grant: from, at: 0 },
        { endpoint: second.endpoint, grant: to, at: 0 },
        10,
      ),
    );

    expect(code).toBe('EPERM');
  });
});
