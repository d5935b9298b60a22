/**
 * The codec of the datagram layer: what is in one datagram. No I/O, and nothing in a datagram is
 * trusted.
 *
 * Every packet begins with 16 bytes and ends with the tag of its seal, all little-endian:
 *
 *   0   0x44, the letter D            4   connection id of the receiver, 48 bits
 *   1   version                       10  packet number, 48 bits; 0 in packets of the handshake
 *   2   type                          16  body, then the tag
 *   3   DATA: low byte of the epoch of its keys; else the suite: 0 in plain text, 1 sealed
 *
 *   dialer                                             accepter
 *   INIT (own id) ------------------------------------>          keeps nothing
 *        <------------------------------------ COOKIE (cookie)
 *   OPEN (own id, cookie, key share) ----------------->          keeps a connection
 *        <------------------------- ACCEPT (own id, key share)
 *   DATA <-------------------------------------------> DATA
 *
 * REFUSE answers an INIT or OPEN that is not welcome, RESET a DATA packet whose connection is not
 * known; it names that connection by the id that the packet was sent to, which only a host on the
 * path can know, and sealed connections do not believe it. INIT, OPEN and ACCEPT are as long as the
 * shortest path MTU in use: a path that is too narrow is noticed at once, and no answer is longer
 * than its question.
 *
 * The tag of DATA is that of the connection's seal; packets of the handshake have a checksum, and
 * what they say is bound into the keys; see key-exchange.ts. The body of DATA is a list of frames;
 * see frames.ts.
 */
import { viewOf, type Checksum } from '../frame.ts';
import { SHARE_BYTES, Suite } from './security.ts';

/** Raised when packets or the meaning of a frame change. */
export const PACKET_VERSION = 2;
export const PACKET_MAGIC = 0x44;

export const PacketKind = {
  INIT: 1,
  COOKIE: 2,
  OPEN: 3,
  ACCEPT: 4,
  REFUSE: 5,
  RESET: 6,
  DATA: 7,
} as const;
export type PacketKind = (typeof PacketKind)[keyof typeof PacketKind];

/** Offsets in a packet's header. */
export const PacketLayout = {
  BYTES: 16,
  version: 1,
  kind: 2,
  suite: 3,
  epoch: 3,
  id: 4,
  number: 10,
} as const;

/** What a path must carry: the BASE_PLPMTU of RFC 8899, section 5.1.2. */
export const DATAGRAM_BYTES_MIN = 1200;
/** No datagram is longer, whatever the path carries. */
export const DATAGRAM_BYTES_MAX = 16384;
export const COOKIE_BYTES = 16;
/**
 * A packet shorter than this is answered by nothing, so that no answer is longer than its question;
 * what asks for an acknowledgement is filled up to it.
 */
export const ANSWERED_BYTES_MIN = 48;

/** Why an INIT or OPEN is refused; append only. */
export const RefuseCode = { NOT_LISTENING: 1, VERSION: 2, FULL: 3, SUITE: 4 } as const;

/**
 * What protects the packets of a connection. Each packet number is used once in a direction, so it
 * can be the nonce of an AEAD cipher.
 */
export interface PacketSeal {
  /** Bytes at the end of every packet. */
  readonly tagBytes: number;
  /** How often this side has taken new keys. */
  readonly rekeys: number;
  /** Fills the tag at the end of `packet`; the body may be enciphered in place. */
  seal(packet: Uint8Array, number: number, nowMs: number): void;
  /** Whether the packet is as it was sealed; the body is deciphered in place. */
  open(packet: Uint8Array, number: number, nowMs: number): boolean;
  /** The peer has opened the packet of this number. */
  acknowledged(number: number): void;
  /** Forgets all keys; nothing is sealed or opened any more. */
  erase(): void;
}

// The CRC32C of whatever ends with its own CRC32C, lowest byte first.
const WHOLE = 0x4867_4bc7;

/**
 * A CRC32C as the tag: it finds damage, and does not stop anyone who forges packets on purpose.
 */
export function plainSeal(checksum: Checksum): PacketSeal {
  // The last packet without its tag: most are built in the same place, and a view costs.
  let last: Uint8Array = NO_BYTES;
  let bare: Uint8Array = NO_BYTES;
  return {
    tagBytes: 4,
    rekeys: 0,
    seal: (packet) => {
      const end = packet.length - 4;
      if (packet !== last) bare = packet.subarray(0, end);
      last = packet;
      const tag = checksum(bare, 0);
      for (let i = 0; i < 4; i++) packet[end + i] = tag >>> (8 * i);
    },
    open: (packet) => checksum(packet, 0) === WHOLE,
    acknowledged: () => undefined,
    erase: () => undefined,
  };
}

/** A packet's header. */
export interface PacketHead {
  kind: PacketKind;
  /** Of the receiver's end of the connection; 0 when it has none yet. */
  id: number;
  number: number;
  /** Of packets of the handshake; PLAIN when absent. */
  suite?: Suite;
}

/** Why a datagram is dropped before its seal is looked at. */
export type HeadFault = 'short' | 'magic' | 'version' | 'type';

const UPPER = 0x1_0000_0000;
const KINDS = new Set<number>(Object.values(PacketKind));
const SUITES = new Set<number>(Object.values(Suite));

export function readUint48(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint16(at + 4, true) * 0x1_0000_0000;
}

/** The same of plain bytes: a DataView for every packet would cost more than the rest. */
export function uint48At(bytes: Uint8Array, at: number): number {
  return uint16At(bytes, at) + uint16At(bytes, at + 2) * 0x1_0000 + uint16At(bytes, at + 4) * UPPER;
}

export function uint32At(bytes: Uint8Array, at: number): number {
  return uint16At(bytes, at) + uint16At(bytes, at + 2) * 0x1_0000;
}

export function uint16At(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
}

export function writeUint48(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint16(at + 4, Math.floor(value / UPPER), true);
}

export function writeHead(view: DataView, head: PacketHead): void {
  view.setUint8(0, PACKET_MAGIC);
  view.setUint8(PacketLayout.version, PACKET_VERSION);
  view.setUint8(PacketLayout.kind, head.kind);
  view.setUint8(PacketLayout.suite, head.suite ?? Suite.PLAIN);
  writeUint48(view, PacketLayout.id, head.id);
  writeUint48(view, PacketLayout.number, head.number);
}

/** The header of a datagram, or why it is none. */
export function readHead(datagram: Uint8Array, tagBytes: number): PacketHead | HeadFault {
  if (datagram.length < PacketLayout.BYTES + tagBytes) return 'short';
  if (datagram[0] !== PACKET_MAGIC) return 'magic';
  const kind = datagram[PacketLayout.kind] ?? 0;
  // The form of REFUSE is the same in every version and suite, so that it can name another one.
  const isRefusal = kind === PacketKind.REFUSE;
  const isKnown = datagram[PacketLayout.version] === PACKET_VERSION;
  if (!isKnown && !isRefusal) return 'version';
  const hasSuite = kind !== PacketKind.DATA && !isRefusal;
  const suite = hasSuite ? (datagram[PacketLayout.suite] ?? 0) : Suite.PLAIN;
  if (!KINDS.has(kind) || !SUITES.has(suite)) return 'type';
  return {
    kind: kind as PacketKind,
    suite: suite as Suite,
    id: uint48At(datagram, PacketLayout.id),
    number: uint48At(datagram, PacketLayout.number),
  };
}

/** What a packet of the handshake says; fields that its kind does not have are absent. */
export interface Handshake {
  kind: PacketKind;
  /** PLAIN when absent. */
  suite?: Suite;
  /** Id of the receiver; 0 when it has none. */
  to: number;
  /** INIT, OPEN, ACCEPT: id of the sender. COOKIE: when it was made. RESET: the id not known. */
  value: number;
  /** COOKIE and OPEN. */
  cookie?: Uint8Array;
  /** OPEN: when the cookie was made. REFUSE: the code. */
  detail?: number;
  /** OPEN and ACCEPT of sealed connections. */
  share?: Uint8Array;
}

const AT_VALUE = PacketLayout.BYTES;
const AT_DETAIL = AT_VALUE + 6;
const AT_COOKIE = AT_DETAIL + 6;
const SHORT_BYTES = AT_COOKIE;
const COOKIE_END = AT_COOKIE + COOKIE_BYTES;
const SHARE_END = COOKIE_END + SHARE_BYTES;

const LONG = new Set<number>([PacketKind.INIT, PacketKind.OPEN, PacketKind.ACCEPT]);

function handshakeBytes(kind: PacketKind, tagBytes: number): number {
  if (LONG.has(kind)) return DATAGRAM_BYTES_MIN;
  return (kind === PacketKind.COOKIE ? COOKIE_END : SHORT_BYTES) + tagBytes;
}

/** A packet of the handshake, sealed. */
export function encodeHandshake(packet: Handshake, seal: PacketSeal): Uint8Array {
  const bytes = new Uint8Array(handshakeBytes(packet.kind, seal.tagBytes));
  const view = viewOf(bytes);
  const { kind, suite = Suite.PLAIN, to: id } = packet;
  writeHead(view, { kind, suite, id, number: 0 });
  writeUint48(view, AT_VALUE, packet.value);
  writeUint48(view, AT_DETAIL, packet.detail ?? 0);
  if (packet.cookie) bytes.set(packet.cookie, AT_COOKIE);
  if (packet.share) bytes.set(packet.share, COOKIE_END);
  seal.seal(bytes, 0, 0);
  return bytes;
}

/** Reads a packet of the handshake whose seal was found whole; undefined when it is malformed. */
export function decodeHandshake(
  head: PacketHead,
  bytes: Uint8Array,
  tagBytes: number,
): Handshake | undefined {
  if (head.number !== 0 || bytes.length !== handshakeBytes(head.kind, tagBytes)) return undefined;
  const view = viewOf(bytes);
  return {
    kind: head.kind,
    suite: head.suite ?? Suite.PLAIN,
    to: head.id,
    value: readUint48(view, AT_VALUE),
    detail: readUint48(view, AT_DETAIL),
    cookie: bytes.length >= COOKIE_END ? bytes.slice(AT_COOKIE, COOKIE_END) : NO_BYTES,
    share: bytes.length >= SHARE_END ? bytes.slice(COOKIE_END, SHARE_END) : NO_BYTES,
  };
}

const NO_BYTES = new Uint8Array(0);
