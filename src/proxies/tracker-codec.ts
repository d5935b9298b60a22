/**
 * Queries of trackers, and their answers, as commands: PROCINFO and PROCINFO_ACK. What they are for
 * is told in tracker.ts.
 *
 * A query names a slot, by generation 0 in the destination, and has a number in `callId`. The
 * answer repeats both; its result is 0 and its source the endpoint of the slot's owner, or its
 * result is EDEADSRCDST (nobody of that node has the slot) or EAGAIN (that cannot be said now).
 */
import { constants } from 'node:os';
import { BindFlag, CommandKind, CommandLayout, ErrorNumber, Limit } from '../dvk/abi/abi.gen.ts';
import { makeEndpoint, slotOf, type Endpoint } from '../dvk/endpoint.ts';
import { levelName, levelNumber, type Level } from '../dvk/info.ts';
import { viewOf } from './frame.ts';
import type { ProbeRoute } from './probe.ts';

export interface Query {
  /** Tells the search from others of the same tracker; 32 bits. */
  number: number;
  slot: number;
}

/** A process as its own node describes it. */
export interface Owner {
  endpoint: Endpoint;
  level: Level;
  name: string;
  /** Others have the same endpoint on other nodes. */
  replica: boolean;
}

export interface Answer extends Query {
  /** `later`: the slot's process is on its way to another node. */
  owner: Owner | 'none' | 'later';
}

const { EAGAIN } = constants.errno;
const NO_OWNER = -ErrorNumber.EDEADSRCDST;
const ANSWER_KIND = CommandKind.PROCINFO | CommandKind.ACK;
const NAME_BYTES = Limit.NAME_BYTES;

function commandOf(kind: number, { number, slot }: Query, route: ProbeRoute): Uint8Array {
  const command = new Uint8Array(CommandLayout.BYTES);
  const view = viewOf(command);
  view.setUint32(CommandLayout.kind, kind, true);
  view.setUint32(CommandLayout.dcId, route.dcId, true);
  view.setInt32(CommandLayout.destination, makeEndpoint(slot), true);
  view.setUint32(CommandLayout.sourceNode, route.from, true);
  view.setUint32(CommandLayout.destinationNode, route.to, true);
  view.setUint32(CommandLayout.callId, number, true);
  return command;
}

export function encodeQuery(query: Query, route: ProbeRoute): Uint8Array {
  return commandOf(CommandKind.PROCINFO, query, route);
}

export function encodeAnswer(answer: Answer, route: ProbeRoute): Uint8Array {
  const command = commandOf(ANSWER_KIND, answer, route);
  const view = viewOf(command);
  const { owner } = answer;
  if (typeof owner === 'string') {
    view.setInt32(CommandLayout.result, owner === 'later' ? -EAGAIN : NO_OWNER, true);
    return command;
  }
  view.setInt32(CommandLayout.source, owner.endpoint, true);
  view.setUint32(CommandLayout.level, levelNumber(owner.level), true);
  view.setUint32(CommandLayout.answers, owner.replica ? BindFlag.REPLICA : 0, true);
  new TextEncoder().encodeInto(
    owner.name,
    command.subarray(CommandLayout.name, CommandLayout.name + NAME_BYTES - 1),
  );
  return command;
}

/** Reads a command of kind PROCINFO or PROCINFO_ACK; undefined when it is malformed. */
export function decodeTracking(
  command: Uint8Array,
): { query: Query } | { answer: Answer } | undefined {
  const view = viewOf(command);
  const slot = view.getInt32(CommandLayout.destination, true);
  if (slot < 0 || slot >= Limit.PROCESSES_MAX) return undefined;
  const query = { number: view.getUint32(CommandLayout.callId, true), slot };
  if (view.getUint32(CommandLayout.kind, true) === CommandKind.PROCINFO) return { query };
  const owner = ownerIn(command, view);
  if (owner === undefined) return undefined;
  if (typeof owner === 'object' && slotOf(owner.endpoint) !== slot) return undefined;
  return { answer: { ...query, owner } };
}

function ownerIn(command: Uint8Array, view: DataView): Answer['owner'] | undefined {
  const result = view.getInt32(CommandLayout.result, true);
  if (result === NO_OWNER) return 'none';
  if (result === -EAGAIN) return 'later';
  const endpoint = view.getInt32(CommandLayout.source, true) as Endpoint;
  if (result !== 0 || endpoint < 0 || endpoint >>> 16 > Limit.GENERATION_MAX) return undefined;
  const level = levelName(view.getUint32(CommandLayout.level, true));
  const replica = view.getUint32(CommandLayout.answers, true) === BindFlag.REPLICA;
  return { endpoint, level, name: nameIn(command), replica };
}

function nameIn(command: Uint8Array): string {
  const bytes = command.subarray(CommandLayout.name, CommandLayout.name + NAME_BYTES);
  const end = bytes.indexOf(0);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(
      end < 0 ? new Uint8Array(0) : bytes.subarray(0, end),
    );
  } catch {
    // A name is for people; one that is no text is none.
    return '';
  }
}
