// The kept inputs of each decoder in TypeScript (test/fuzz/corpus), and mutations of them from a
// fixed seed: nothing throws, nothing grows, and what is taken is written as it was read.
// An input that breaks something is told as a line for the corpus.
// DVK_MUTATIONS and DVK_SEED make it more, and others.
// Method: inputs of decoders behind a checksum begin with a byte that says which checksums are made
// right, so that mutations reach what is behind them.
import { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { nodeId } from '../../src/dvk/endpoint.ts';
import { lz4Unpack } from '../../src/dvk/lz4.ts';
import { BulkLane } from '../../src/proxies/bulk-lane.ts';
import { readFrames } from '../../src/proxies/datagram/frames.ts';
import { decodeHandshake, encodeHandshake, PacketKind } from '../../src/proxies/datagram/packet.ts';
import { PacketLayout, plainSeal, readHead, writeHead } from '../../src/proxies/datagram/packet.ts';
import * as ethernet from '../../src/proxies/ethernet-frame.ts';
import { FrameDecoder, FrameLayout, FRAME_HEAD_BYTES } from '../../src/proxies/frame.ts';
import { framePlace, sealFrame, viewOf } from '../../src/proxies/frame.ts';
import { decodeHello, encodeHello, HELLO_BYTES_MAX } from '../../src/proxies/hello.ts';
import { decodeOffer, encodeOffer } from '../../src/proxies/offer.ts';
import { decodeProbe, encodeProbe } from '../../src/proxies/probe.ts';
import { decodeTracking, encodeAnswer, encodeQuery } from '../../src/proxies/tracker-codec.ts';
import { Gateway, GATEWAY_DEFAULTS } from '../../src/vos/fuse/gateway.ts';
import { SILENT_OPCODES } from '../../src/vos/fuse/wire.ts';
import { parseSpec, SpecError } from '../../src/vos/spec.ts';
import { SimulatedNetwork } from '../support/datagram-network.ts';
import { TrafficEnd } from '../support/datagram-traffic.ts';
import { initMessage, ManualClock, RecordingPort } from '../support/fuse-messages.ts';
import { keptInputs, runInput, runInputs } from '../support/kept-inputs.ts';
import { MemoryFiles, S_IFDIR, S_IFREG } from '../support/memory-files.ts';

const MUTATIONS = Number(process.env['DVK_MUTATIONS'] ?? 1000);
const SEED = Number(process.env['DVK_SEED'] ?? 1);
const SEAL = plainSeal(crc32c);
const ROUTE = { dcId: 5, from: nodeId(1), to: nodeId(0) };
const PACKED_BYTES_MAX = 8192;

// Bits of the first byte.
const HEADER = 1;
const BODY = 2;
const PACKED = 4;

/** Makes checksums of the first frame right. */
function repair(bytes: Uint8Array, which: number): void {
  if (bytes.length < FrameLayout.BYTES) return;
  const view = viewOf(bytes);
  const count = view.getUint32(FrameLayout.payloadBytes, true);
  const isPacked = view.getUint32(FrameLayout.flags, true) !== 0;
  const most = FrameLayout.BYTES + count + (isPacked ? 0 : FRAME_HEAD_BYTES - FrameLayout.BYTES);
  const sum = crc32c(bytes.subarray(FrameLayout.BYTES, Math.min(most, bytes.length)));
  if ((which & BODY) !== 0) view.setUint32(FrameLayout.bodyChecksum, sum, true);
  if ((which & HEADER) === 0) return;
  const checksum = crc32c(bytes.subarray(0, FrameLayout.headerChecksum));
  view.setUint32(FrameLayout.headerChecksum, checksum, true);
}

function frames(input: Uint8Array): void {
  const [flags = 0] = input;
  const bytes = input.slice(1);
  repair(bytes, flags);
  const decoder = new FrameDecoder(crc32c, HELLO_BYTES_MAX);
  const isPacked = (flags & PACKED) !== 0;
  if (isPacked) decoder.takePacked(lz4Unpack, PACKED_BYTES_MAX);
  const { capacityBytes } = decoder;
  const piece = 1 + (flags >> 3) * 32;
  let taken = 0;
  for (let at = 0; at < bytes.length;) {
    const space = decoder.space();
    expect(space.length).toBeGreaterThan(0);
    const part = bytes.subarray(at, at + Math.min(space.length, piece));
    space.set(part);
    decoder.filled(part.length);
    at += part.length;
    for (let one = decoder.next(); one !== undefined; one = decoder.next()) {
      if (isPacked) continue;
      // What comes out is what came, from the front, with nothing between.
      const again = new Uint8Array(FRAME_HEAD_BYTES + one.payload.length);
      const place = framePlace(again, viewOf(again), 0);
      place.command.set(one.command);
      place.payload.set(one.payload);
      sealFrame(place, one.session, one.sequence, crc32c);
      expect(again).toEqual(bytes.slice(taken, taken + again.length));
      taken += again.length;
    }
  }
  expect(decoder.capacityBytes).toBe(capacityBytes);
}

function hello(input: Uint8Array): void {
  const read = decodeHello(input);
  // What is no UTF-8 is another name, and longer.
  if (read?.dvs.includes('\ufffd') === true) return;
  if (read !== undefined) expect(decodeHello(encodeHello(read))).toEqual(read);
}

function offer(input: Uint8Array): void {
  const bytes = new Uint8Array(64);
  bytes.set(input.subarray(0, bytes.length));
  const read = decodeOffer(bytes);
  expect(decodeOffer(encodeOffer(read))).toEqual(read);
}

const TAKES = { ack: () => true, bytes: () => true, window: () => true, ping: () => true };

/** Packets of datagrams: heads, handshakes, and the frames in them. */
function packets(input: Uint8Array): void {
  const bytes = input.slice(1);
  if (((input[0] ?? 0) & BODY) !== 0 && bytes.length >= 4) SEAL.seal(bytes, 0, 0);
  const head = readHead(bytes, SEAL.tagBytes);
  if (typeof head === 'string' || !SEAL.open(bytes, head.number, 0)) return;
  if (head.kind === PacketKind.DATA) {
    const body = bytes.subarray(PacketLayout.BYTES, bytes.length - SEAL.tagBytes);
    readFrames(body, { ...TAKES, close: () => true });
    return;
  }
  const read = decodeHandshake(head, bytes, SEAL.tagBytes);
  if (read === undefined) return;
  const { cookie, share, ...fields } = read;
  const again = encodeHandshake(
    {
      ...fields,
      ...(cookie && cookie.length > 0 && { cookie }),
      ...(share && share.length > 0 && { share }),
    },
    SEAL,
  );
  const headAgain = readHead(again, SEAL.tagBytes);
  if (typeof headAgain === 'string') throw new Error(headAgain);
  expect(decodeHandshake(headAgain, again, SEAL.tagBytes)).toEqual(read);
}

/** Bodies of packets, each a length and its bytes, to a connection that is open: the layer of
 * acknowledgements, windows and lanes. */
function reliable(input: Uint8Array): void {
  const network = new SimulatedNetwork(1);
  const [a, b] = [network.host('a'), network.host('b')];
  const dialer = new TrafficEnd('dialer', { own: 10, peer: 20 }, 500);
  const buffer = new Uint8Array(1000);
  let ends = 0;
  let [id, number] = [0, 1000];
  b.endpoint.listen(() => ({
    opened: () => undefined,
    space: () => buffer,
    received: (bytes) => expect(bytes).toBeLessThanOrEqual(buffer.length),
    closed: () => ends++,
  }));
  network.tap = (from, _, bytes) => {
    const head = readHead(bytes, SEAL.tagBytes);
    if (from === 'a' && typeof head !== 'string' && head.id !== 0) id = head.id;
  };
  a.endpoint.dial('b', dialer, a.nowMs);
  network.run(20);
  for (let at = 0; at < input.length; number++) {
    const end = at + 1 + (input[at] ?? 0);
    const body = input.subarray(at + 1, end);
    const packet = new Uint8Array(PacketLayout.BYTES + body.length + SEAL.tagBytes);
    writeHead(viewOf(packet), { kind: PacketKind.DATA, id, number });
    packet.set(body, PacketLayout.BYTES);
    SEAL.seal(packet, number, 0);
    b.endpoint.receive(packet, 'a', b.nowMs);
    b.endpoint.run(b.nowMs);
    expect(b.endpoint.heldBytes).toBeLessThanOrEqual(4 << 20);
    at = end;
  }
  expect(ends).toBeLessThanOrEqual(1);
  expect(b.endpoint.size).toBeLessThanOrEqual(1);
}

function probes(input: Uint8Array): void {
  const read = decodeProbe(commandOf(input));
  if (read !== undefined) expect(decodeProbe(encodeProbe(read, ROUTE))).toEqual(read);
}

function trackers(input: Uint8Array): void {
  const told = decodeTracking(commandOf(input));
  if (told === undefined) return;
  const again = 'query' in told ? encodeQuery(told.query, ROUTE) : encodeAnswer(told.answer, ROUTE);
  expect(decodeTracking(again)).toEqual(told);
}

/** Decoders of commands are given whole ones. */
function commandOf(input: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEAD_BYTES - FrameLayout.BYTES);
  bytes.set(input.subarray(0, bytes.length));
  return bytes;
}

function heads(input: Uint8Array): void {
  const found = ethernet.readHead(input, input.length, 0x02_00_00_00_00_01);
  if (typeof found === 'string') return;
  expect(found.port).toBeGreaterThan(0);
  expect(ethernet.HEAD_BYTES + found.bytes).toBeLessThanOrEqual(input.length);
}

function spec(input: Uint8Array): void {
  try {
    parseSpec(Buffer.from(input).toString('utf8'), { file: 'f', directory: '/d', name: 'n' });
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    expect(error.problems.length).toBeGreaterThan(0);
  }
}

/** A request of the kernel: a mount answers it once, or not when there is nobody to answer. */
function requests(input: Uint8Array): void {
  const files = new MemoryFiles();
  files.add('/file', S_IFREG | 0o644, new Uint8Array(10_000));
  files.add('/dir', S_IFDIR | 0o755);
  const port = new RecordingPort();
  const gateway = new Gateway(files, port, new ManualClock(), GATEWAY_DEFAULTS);
  const init = initMessage();
  gateway.receive(init, init.byteLength);
  const before = port.replies.length;
  const view = viewOf(input);
  gateway.receive(view, input.length);
  const isWhole = input.length >= 40 && view.getUint32(0, true) === input.length;
  const isSilent = isWhole && SILENT_OPCODES.has(view.getUint32(4, true));
  const most = isWhole && !isSilent ? 1 : 0;
  const replies = port.replies.slice(before).filter(({ error }) => error <= 0);
  expect(replies.length).toBeLessThanOrEqual(most);
}

class Wire extends Duplex {
  readonly written: Buffer[] = [];
  override _read(): void {
    // Nothing comes: the test hands bytes to the lane itself.
  }
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.written.push(Buffer.from(chunk));
    done();
  }
  override _destroy(_: Error | null, done: () => void): void {
    done();
  }
}

function laneOf(received: (bytes: Uint8Array) => void): { lane: BulkLane; wire: Wire } {
  const space = new Uint8Array(1000);
  const secret = new Uint8Array(32).fill(7);
  const lane = new BulkLane(
    { name: 'lane', secrets: { send: secret, receive: secret } },
    {
      opened: () => undefined,
      closed: () => undefined,
      space: () => space,
      received: (bytes) => {
        received(space.slice(0, bytes));
      },
    },
  );
  const wire = new Wire();
  lane.attach(wire as unknown as Socket);
  return { lane, wire };
}

/** Records of a sealed lane, whose secrets are known here: what comes out was sealed. */
function records(input: Uint8Array): void {
  const came: number[] = [];
  const { lane, wire } = laneOf((bytes) => came.push(...bytes));
  for (let at = 0; at < input.length && !wire.destroyed;) {
    const space = lane.space();
    expect(space.length).toBeGreaterThan(0);
    const part = input.subarray(at, at + space.length);
    space.set(part);
    at += part.length;
    lane.received(part.length);
  }
  expect(came).toEqual(SAID.slice(0, came.length));
  lane.destroy();
}

// All that was ever sealed in the corpus of records.
const SAID = Array.from({ length: 60 }, (_, i) => i);

const DECODERS: Record<string, (input: Uint8Array) => void> = {
  ...{ frames, hello, offer, packets, reliable, probes, trackers, heads, spec, requests, records },
};

describe('kept inputs, and mutations of them', () => {
  it.each(Object.entries(DECODERS))('break nothing: %s', (name, decode) => {
    const { stackTraceLimit } = Error;
    // Taking stacks of errors that are expected costs more than the rest.
    if (name === 'spec') Error.stackTraceLimit = 0;
    runInputs(name, { mutations: MUTATIONS, seed: SEED }, decode);
    Error.stackTraceLimit = stackTraceLimit;
  });

  it('are told as a line for the corpus when they break something', () => {
    const breaks = (): never => {
      throw new Error('broken');
    };

    expect(() => {
      runInput('hello', Uint8Array.of(1, 0xab), breaks);
    }).toThrow('Error: broken; a line for test/fuzz/corpus/hello.txt: 01ab');
    expect(keptInputs('hello').length).toBeGreaterThan(1);
  });
});
