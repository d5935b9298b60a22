/** Requests of a FUSE session that wait for the file service. */
import type { LeaseMark } from '../client/leases.ts';
import type { FileId } from '../client/file-service.ts';
import type { Change } from './change.ts';
import type { Opcode } from './wire.ts';

/** What a file service is asked, but for changes and what belongs to them: see `change.ts`. */
export type ReadingOpcode =
  | typeof Opcode.LOOKUP
  | typeof Opcode.GETATTR
  | typeof Opcode.READLINK
  | typeof Opcode.READ
  | typeof Opcode.READDIR
  | typeof Opcode.READDIRPLUS
  | typeof Opcode.STATFS
  | typeof Opcode.GETXATTR
  | typeof Opcode.LISTXATTR;

interface WaitingRequest {
  readonly unique: number;
  readonly file: FileId;
  /** The thread that waits; 0 if it cannot be seen from here. */
  readonly pid: number;
  answered: boolean;
  /** Where `Answers` has it among those that wait. */
  place: number;
  /** A signal reached the process that waits. */
  interrupted: boolean;
  /** When it was asked, where that is of interest. */
  mark?: LeaseMark;
}

/** A request that reads. */
export interface ReadingRequest extends WaitingRequest {
  readonly opcode: ReadingOpcode;
  readonly change: undefined;
  /** READ: byte in the file; READDIR and READDIRPLUS: cookie. */
  readonly offset: number;
  /** The most bytes of data the reply may carry. */
  readonly bytes: number;
  /** LOOKUP and GETXATTR; empty otherwise. */
  readonly name: Uint8Array;
  /** Who asks. */
  readonly uid: number;
}

/** A request that changes something, or belongs to those. */
export interface ChangingRequest extends WaitingRequest {
  readonly opcode: number;
  readonly change: Change;
}

/**
 * A request that only the file service can answer. It stays in the session until it is answered.
 */
export type ServiceRequest = ReadingRequest | ChangingRequest;
