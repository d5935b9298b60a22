/** What a segment tells about itself, its processes and its links, with names for the numbers. */
import { BindFlag, LinkState, ProcessLevel, ProcessLife } from './abi/abi.gen.ts';
import type { DcId, Endpoint, NodeId } from './endpoint.ts';
import type { RawLinkInfo, RawProcessInfo, RawSegmentInfo } from './native.ts';

/**
 * What a process may do: `server` receives requests, replies, and copies between others; `kernel`
 * is the node's own.
 */
export type Level = 'user' | 'server' | 'kernel';
export type Life = 'free' | 'binding' | 'local' | 'remote' | 'dying' | 'arriving';
export type LinkStateName = 'absent' | 'down' | 'up' | 'local';

/** What a process is doing; by the number of its rendezvous state, and four more. */
export const STATE_NAMES = [
  'running',
  'receiving any',
  'receiving from',
  'awaiting reply',
  'receiving request',
  'filling',
  'full',
  'full',
  'full',
  'sending',
  'calling',
  'taking',
  'taken',
  'remote',
  'error',
  'kicked',
  'awaiting bind',
  'awaiting unbind',
  'standing by',
  'searching',
] as const;
export type StateName = (typeof STATE_NAMES)[number] | 'unknown';

export interface SegmentInfo {
  path: string;
  directory: string;
  dcId: DcId;
  nodeId: NodeId;
  dcName: string;
  dvsName: string;
  /** Process slots. */
  processes: number;
  /** Node slots. */
  nodes: number;
  arenaBytes: number;
  /** Size of the file. */
  bytes: number;
  /** Random, new at each creation. */
  incarnation: bigint;
  abiVersion: number;
  state: 'running' | 'ended';
}

export interface ProcessInfo {
  endpoint: Endpoint;
  slot: number;
  /** Where the process lives. */
  node: NodeId;
  life: Life;
  level: Level;
  state: StateName;
  /** As this host numbers processes; of one of another node its backup here, or 0. */
  pid: number;
  /** Of that process, when the slot lives no longer than it; 0: as long as the program. */
  thread: number;
  /** Whom it waits for, or NONE. */
  peer: Endpoint;
  /** The CPU it last ran on, -1 unknown. */
  cpu: number;
  /** Whether a wakeup waits for its next receive. */
  wakeupPending: boolean;
  /** Whether its slot was bound for it by another program, and it has not taken it yet. */
  handed: boolean;
  /** Whether it was bound as a replica: on other nodes there are others with its endpoint. */
  replica: boolean;
  /** Whether `pid` stands by for it, the primary on another node. */
  backup: boolean;
  /** Whether it was bound to move to no other node. */
  noMigrate: boolean;
  /**
   * In clock ticks since boot; pid (or thread) and start time together name a process of this host.
   */
  startTime: number;
  name: string;
  /** Messages to processes of this node. */
  sent: number;
  received: number;
  sentRemote: number;
  notified: number;
  /** Moved by vcopies that it asked for. */
  copiedBytes: number;
  /** Times it slept. */
  waits: number;
  /** Moved by itself, while it waited, for copies that others asked for. */
  lentBytes: number;
}

export interface LinkInfo {
  node: NodeId;
  name: string;
  state: LinkStateName;
  /** Raised at each connection. */
  session: number;
  /** 0 when no proxy is attached. */
  proxyPid: number;
  /** Commands taken by the proxy. */
  sent: number;
  /** Commands put by the proxy. */
  received: number;
  /** Of copied data. */
  sentBytes: number;
  receivedBytes: number;
  /** Malformed or refused commands. */
  dropped: number;
  /** Processes whose commands wait for the proxy, and how many there may be. */
  queued: number;
  queueLimit: number;
}

function namesOf<Name extends string>(
  numbers: Readonly<Record<Uppercase<Name>, number>>,
): ReadonlyMap<number, Name> {
  return new Map(
    Object.entries<number>(numbers).map(([name, number]) => [number, name.toLowerCase() as Name]),
  );
}

const LEVELS = namesOf<Level>(ProcessLevel);
const LIVES = namesOf<Life>(ProcessLife);
const LINKS = namesOf<LinkStateName>(LinkState);

/** The number of a level. */
export function levelNumber(level: Level): ProcessLevel {
  return ProcessLevel[level.toUpperCase() as Uppercase<Level>];
}

/** The level of a number; what is no level counts as `user`. */
export function levelName(number: number): Level {
  return LEVELS.get(number) ?? 'user';
}

export function segmentInfo(path: string, raw: RawSegmentInfo): SegmentInfo {
  return {
    ...raw,
    path,
    dcId: raw.dcId as DcId,
    nodeId: raw.nodeId as NodeId,
    state: raw.state === 1 ? 'running' : 'ended',
  };
}

export function processInfo({ flags, ...raw }: RawProcessInfo): ProcessInfo {
  return {
    ...raw,
    endpoint: raw.endpoint as Endpoint,
    node: raw.node as NodeId,
    peer: raw.peer as Endpoint,
    life: LIVES.get(raw.life) ?? 'dying',
    level: levelName(raw.level),
    state: STATE_NAMES[raw.state] ?? 'unknown',
    handed: (flags & BindFlag.HANDED) !== 0,
    replica: (flags & BindFlag.REPLICA) !== 0,
    backup: (flags & BindFlag.BACKUP) !== 0,
    noMigrate: (flags & BindFlag.NOMIGRATE) !== 0,
  };
}

export function linkInfo(raw: RawLinkInfo): LinkInfo {
  return { ...raw, node: raw.node as NodeId, state: LINKS.get(raw.state) ?? 'absent' };
}
