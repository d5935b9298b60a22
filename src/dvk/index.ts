/**
 * The DVK for TypeScript: endpoints, messages, the calls of M3-IPC, and the administration of a DC
 * on a node.
 */
export * from './abi/abi.gen.ts';
export { systemClock, type Clock } from './clock.ts';
export { crc32c } from './crc32c.ts';
export {
  ANY,
  dcId,
  formatEndpoint,
  generationOf,
  isSpecial,
  KERNEL,
  makeEndpoint,
  nodeId,
  NONE,
  SELF,
  slotOf,
  type DcId,
  type Endpoint,
  type GrantId,
  type NodeId,
} from './endpoint.ts';
export {
  check,
  DvkError,
  errorName,
  errorNumber,
  fail,
  isDvkError,
  type ErrorDetails,
} from './errors.ts';
export type { Filter, FilterRule } from './filter.ts';
export { fuseDevice, type FuseDevice } from './fuse-device.ts';
export {
  levelName,
  levelNumber,
  STATE_NAMES,
  type Level,
  type Life,
  type LinkInfo,
  type LinkStateName,
  type ProcessInfo,
  type SegmentInfo,
  type StateName,
} from './info.ts';
export { addressOf, type Access, type CopyElement, type Party } from './memory.ts';
export { Message, PAYLOAD_BYTES, PAYLOAD_OFFSET } from './message.ts';
export {
  ALL_PEERS,
  CALL_NAMES,
  peersIn,
  type CallName,
  type Peers,
  type Privileges,
} from './privileges.ts';
export {
  FOREVER,
  Process,
  type AsyncId,
  type AsyncOptions,
  type AsyncStatus,
  type CallNumber,
  type CallOptions,
  type MessageKind,
  type NotifyOptions,
} from './process.ts';
export type { Departure, Departures } from './departures.ts';
export type { MigrateOptions, Migration, Migrations } from './migrations.ts';
export { Segment, type AdoptOptions, type BindOptions, type CreateOptions } from './segment.ts';
export {
  canLend,
  clearInterrupt,
  closeFd,
  descriptorOf,
  dieWithParent,
  interruptOn,
  lockFile,
  peerCredentials,
  pidfdOpen,
  pinToCpu,
  processAlive,
  processStartTime,
  punchHole,
  setAffinity,
  uninterrupted,
  watchReadable,
  type Signal,
} from './system.ts';
export {
  decodeTraceEvent,
  Trace,
  TRACE_CALLS,
  TRACE_KINDS,
  TraceRings,
  type TraceBatch,
  type TraceCallName,
  type TraceEvent,
  type TraceKindName,
  type TracePlaces,
} from './trace.ts';
