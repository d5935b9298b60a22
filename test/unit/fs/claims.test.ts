// What a claim is in the way of, when it ends, and that there are no more than so many.
import { describe, expect, it } from 'vitest';
import { mayAnswerEarly } from '../../../src/servers/fs/change-rules.ts';
import { Claims } from '../../../src/servers/fs/claims.ts';
import {
  WriteFlag,
  decodeChange,
  encodeChange,
  type FsChange,
} from '../../../src/vos/protocol/fs-change.ts';
import { encodeRequest, FsCall } from '../../../src/vos/protocol/fs.ts';

const OWNER = 7;
const OTHER = 8;
const FILE = 20;
const DIRECTORY = 30;
const CLAIM_MS = 5000;

class World {
  nowMs = 0;
  readonly alive = new Set<number>([OWNER, OTHER]);
  /** Whether somebody is promised to be told of changes first. */
  isWatched = false;
  readonly ended: number[] = [];
  readonly claims: Claims = new Claims({
    isAlive: (client) => this.alive.has(client),
    nowMs: () => this.nowMs,
    isWatched: () => this.isWatched,
    ended: (inode) => this.ended.push(inode),
  });

  /** Whether the request has to wait. */
  stops(request: Partial<FsChange> & { readonly call: FsCall }): boolean {
    const message = new DataView(new ArrayBuffer(64));
    encodeChange(message, request);
    return this.claims.isInTheWay(message);
  }

  /** A WRITE that claims the file. */
  write(client: number, inode: number = FILE): 'busy' | boolean {
    const flags = WriteFlag.CLAIM;
    const request = { call: FsCall.WRITE, inode, flags, client };
    if (this.stops(request)) return 'busy';
    return this.claims.take(inode, changeOf(request));
  }

  take(client: number): boolean {
    return this.claims.takeNames(DIRECTORY, client, [client, client + 100]);
  }

  /** Whether a request of this endpoint has to wait. */
  stopsFrom(endpoint: number, request: Partial<FsChange> & { readonly call: FsCall }): boolean {
    const message = new DataView(new ArrayBuffer(64));
    encodeChange(message, request);
    message.setInt32(0, endpoint, true);
    return this.claims.isInTheWay(message);
  }
}

function changeOf(request: Partial<FsChange> & { readonly call: FsCall }): FsChange {
  const message = new DataView(new ArrayBuffer(64));
  encodeChange(message, request);
  const change = decodeChange(message);
  if (change === undefined) throw new Error('a request that cannot be read');
  return change;
}

describe('a claim on contents', () => {
  it('is in the way of what gets at the file, and of nothing else', () => {
    const world = new World();
    expect(world.write(OWNER)).toBe(true);
    const others = [
      FsCall.WRITE,
      FsCall.SETATTR,
      FsCall.OPEN,
      FsCall.FSYNC,
      FsCall.LOCK,
      FsCall.SEEK,
      FsCall.FALLOCATE,
    ];
    for (const call of others) expect(world.stops({ call, inode: FILE }), `${call}`).toBe(true);
    for (const call of [FsCall.READ, FsCall.GETATTR]) {
      const message = new DataView(new ArrayBuffer(64));
      const request = { call, inode: FILE, generation: 0, offset: 0, grant: -1 };
      encodeRequest(message, { ...request, grantBytes: 0, nameBytes: 0 });
      expect(world.claims.isInTheWay(message)).toBe(true);
    }
    expect(world.stops({ call: FsCall.COPY_RANGE, inode: 99, other: FILE })).toBe(true);
    expect(world.stops({ call: FsCall.RELEASE, inode: FILE })).toBe(false);
    expect(world.stops({ call: FsCall.UNCLAIM, inode: FILE })).toBe(false);
    expect(world.stops({ call: FsCall.OPEN, inode: FILE + 1 })).toBe(false);
    expect(world.write(OTHER)).toBe('busy');
  });

  it('is not renewed once somebody wanted the file, nor given to anybody for a while', () => {
    const world = new World();
    expect(world.write(OWNER)).toBe(true);
    expect(world.write(OWNER)).toBe(true);
    expect(world.stops({ call: FsCall.OPEN, inode: FILE })).toBe(true);
    expect(world.write(OWNER)).toBe(false);
    // What is under way still arrives before the others are served.
    expect(world.stops({ call: FsCall.OPEN, inode: FILE })).toBe(true);
    world.claims.end(FILE, OTHER);
    expect(world.stops({ call: FsCall.OPEN, inode: FILE })).toBe(true);
    world.claims.end(FILE, OWNER);
    expect(world.stops({ call: FsCall.OPEN, inode: FILE })).toBe(false);
    expect(world.write(OWNER)).toBe(false);
    world.nowMs += 1000;
    expect(world.write(OTHER)).toBe(true);
  });

  it('ends when it is not renewed, also by an owner that goes on while others wait', () => {
    const world = new World();
    expect(world.write(OWNER)).toBe(true);
    world.nowMs += CLAIM_MS - 1;
    expect(world.stops({ call: FsCall.OPEN, inode: FILE })).toBe(true);
    expect(world.write(OWNER)).toBe(false);
    world.nowMs += 1;
    expect(world.stops({ call: FsCall.OPEN, inode: FILE })).toBe(false);
  });

  it('is given to nobody while there are leases, which wait for those that there are', () => {
    const world = new World();
    expect(world.write(OWNER)).toBe(true);
    expect(world.claims.clear()).toBe(false);
    expect(world.write(OWNER)).toBe(false);
    world.claims.end(FILE, OWNER);
    expect(world.claims.clear()).toBe(true);
    world.isWatched = true;
    world.nowMs += 1000;
    expect(world.write(OWNER)).toBe(false);
    world.isWatched = false;
    expect(world.write(OWNER)).toBe(true);
  });

  it('ends with its owner', () => {
    const world = new World();
    expect(world.write(OWNER)).toBe(true);
    world.alive.delete(OWNER);
    expect(world.stops({ call: FsCall.OPEN, inode: FILE })).toBe(false);
    expect(world.write(OTHER)).toBe(true);
  });
});

describe('a claim on names', () => {
  const CALLS = [FsCall.CREATE, FsCall.MKDIR, FsCall.UNLINK, FsCall.OPEN, FsCall.SETATTR];

  it('is in the way of all that others ask of the directory', () => {
    const world = new World();
    expect(world.take(OWNER)).toBe(true);
    for (const call of CALLS) {
      expect(world.stopsFrom(OTHER, { call, inode: DIRECTORY }), `${call}`).toBe(true);
      expect(world.stopsFrom(OTHER, { call, inode: DIRECTORY + 1 }), `${call}`).toBe(false);
    }
    for (const [inode, other] of [
      [99, DIRECTORY],
      [DIRECTORY, 99],
    ]) {
      const rename = { call: FsCall.RENAME, inode: inode ?? 0, other: other ?? 0 };
      expect(world.stopsFrom(OTHER, rename)).toBe(true);
    }
    const unclaim = { call: FsCall.UNCLAIM, inode: DIRECTORY };
    expect(world.stopsFrom(OTHER, unclaim)).toBe(false);
  });

  it('is never in the way of who speaks for its owner', () => {
    const world = new World();
    world.take(OWNER);
    for (const call of CALLS) {
      for (const speaker of [OWNER, OWNER + 100]) {
        expect(world.stopsFrom(speaker, { call, inode: DIRECTORY })).toBe(false);
      }
    }
    expect(world.claims.renewNames(DIRECTORY, OWNER)).toBe(true);
  });

  it('is not renewed once others wanted it, or the directory to go', () => {
    for (const want of [
      (world: World) => world.stopsFrom(OTHER, { call: FsCall.OPEN, inode: DIRECTORY }),
      (world: World) => !world.take(OTHER),
      (world: World) => world.claims.keeps(DIRECTORY),
    ]) {
      const world = new World();
      expect(world.claims.keeps(DIRECTORY)).toBe(false);
      world.take(OWNER);
      expect(want(world)).toBe(true);
      expect(world.take(OWNER)).toBe(false);
      expect(world.claims.renewNames(DIRECTORY, OWNER)).toBe(false);
      world.claims.end(DIRECTORY, OWNER);
      expect(world.ended).toEqual([DIRECTORY]);
      expect(world.take(OWNER)).toBe(false);
      world.nowMs += 1000;
      expect(world.take(OTHER)).toBe(true);
    }
  });

  it('ends when it is not renewed, and is told of', () => {
    const world = new World();
    world.take(OWNER);
    world.nowMs += CLAIM_MS - 1;
    expect(world.claims.renewNames(DIRECTORY, OWNER)).toBe(true);
    world.nowMs += CLAIM_MS;
    expect(world.claims.renewNames(DIRECTORY, OWNER)).toBe(false);
    expect(world.claims.keeps(DIRECTORY)).toBe(false);
    expect(world.ended).toEqual([DIRECTORY]);
  });
});

it('keeps no more claims than it may, and makes room of those that are over', () => {
  const world = new World();
  for (let inode = 100; inode < 100 + 4096; inode++) expect(world.write(OWNER, inode)).toBe(true);
  expect(world.write(OWNER, 99)).toBe(false);
  expect(world.claims.size).toBe(4096);
  world.nowMs += CLAIM_MS;
  expect(world.write(OWNER, 99)).toBe(true);
  expect(world.claims.size).toBe(1);
});

it('is for files whose writes need not last when they return, where there is room', () => {
  const volume = (blocksAvailable: number) => ({
    status: () => ({ blocksAvailable, blockBytes: 4096 }),
  });
  const S = 0x8;
  expect(mayAnswerEarly({ flags: 0 }, volume(16_385))).toBe(true);
  expect(mayAnswerEarly({ flags: 0 }, volume(16_384))).toBe(false);
  expect(mayAnswerEarly({ flags: S }, volume(16_385))).toBe(false);
});
