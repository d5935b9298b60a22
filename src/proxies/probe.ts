/** Probes as commands: the codec. What they are for is told in prober.ts. */
import { CommandKind, CommandLayout, ProbeLayout, ProbeStage } from '../dvk/abi/abi.gen.ts';
import type { Endpoint, NodeId } from '../dvk/endpoint.ts';
import type { RemoteWait } from '../dvk/remote-wait.ts';
import { viewOf } from './frame.ts';

/** A probe on its way along the wait of `source` for `target`. */
export interface Probe {
  /** The wait that it follows: who waits, and for whom. */
  source: Endpoint;
  target: Endpoint;
  /** SEND_MSG or SNDREC_MSG; NONE for a receive. */
  call: number;
  /** Number of that call; 0 for a receive. */
  callId: number;
  /** The wait's ticket, for the node of `source`. */
  ticket: bigint;
  stage: ProbeStage;
  /** Whose wait is looked into. */
  initiator: Endpoint;
  initiatorNode: NodeId;
  /** ProcessLevel of the initiator. */
  initiatorLevel: number;
  /** 64 random bits. */
  nonce: bigint;
  /** Links that it may still cross, this one not counted. */
  hops: number;
  /** Waits that it has passed, and how many of them were for a message to be taken. */
  waits: number;
  sends: number;
  /** Of the waits that it has passed. 64 bits. */
  digest: bigint;
}

/** Between which nodes of which container a probe goes. */
export interface ProbeRoute {
  dcId: number;
  from: NodeId;
  to: NodeId;
}

const STAGES: readonly number[] = Object.values(ProbeStage);
const CALLS: readonly number[] = [CommandKind.NONE, CommandKind.SEND_MSG, CommandKind.SNDREC_MSG];

/** The command that carries a probe. An ECHO goes from the target's node to the source's. */
export function encodeProbe(probe: Probe, route: ProbeRoute): Uint8Array {
  const { source, target, callId } = probe;
  const back = probe.stage === ProbeStage.ECHO;
  const [first, second] = back ? [target, source] : [source, target];
  const command = commandOf(CommandKind.PROBE, { source: first, target: second, callId }, route);
  const body = viewOf(command.subarray(CommandLayout.message + 8));
  body.setInt32(ProbeLayout.initiator, probe.initiator, true);
  body.setUint32(ProbeLayout.initiatorNode, probe.initiatorNode, true);
  body.setUint32(ProbeLayout.initiatorLevel, probe.initiatorLevel, true);
  body.setUint32(ProbeLayout.stage, probe.stage, true);
  body.setUint32(ProbeLayout.call, probe.call, true);
  body.setUint32(ProbeLayout.hops, probe.hops, true);
  body.setUint32(ProbeLayout.waits, probe.waits, true);
  body.setUint32(ProbeLayout.sends, probe.sends, true);
  body.setBigUint64(ProbeLayout.nonce, probe.nonce, true);
  body.setBigUint64(ProbeLayout.digest, probe.digest, true);
  body.setBigUint64(ProbeLayout.ticket, probe.ticket, true);
  return command;
}

/** The command that tells the target's node that a wait has ended. */
export function encodeWithdrawal(
  { waiter, target, callId }: RemoteWait,
  route: ProbeRoute,
): Uint8Array {
  return commandOf(CommandKind.WITHDRAW, { source: waiter, target, callId }, route);
}

function commandOf(
  kind: number,
  ends: { source: Endpoint; target: Endpoint; callId: number },
  route: ProbeRoute,
): Uint8Array {
  const command = new Uint8Array(CommandLayout.BYTES);
  const view = viewOf(command);
  view.setUint32(CommandLayout.kind, kind, true);
  view.setUint32(CommandLayout.dcId, route.dcId, true);
  view.setInt32(CommandLayout.source, ends.source, true);
  view.setInt32(CommandLayout.destination, ends.target, true);
  view.setUint32(CommandLayout.sourceNode, route.from, true);
  view.setUint32(CommandLayout.destinationNode, route.to, true);
  view.setUint32(CommandLayout.callId, ends.callId, true);
  return command;
}

/** The probe in a command of kind PROBE; undefined when it is malformed. */
export function decodeProbe(command: Uint8Array): Probe | undefined {
  const view = viewOf(command);
  const body = viewOf(command.subarray(CommandLayout.message + 8));
  const stage = body.getUint32(ProbeLayout.stage, true);
  const call = body.getUint32(ProbeLayout.call, true);
  const back = stage === ProbeStage.ECHO;
  const first = view.getInt32(CommandLayout.source, true) as Endpoint;
  const second = view.getInt32(CommandLayout.destination, true) as Endpoint;
  // Only what a receive waits for is asked for and echoed.
  const asks = stage !== ProbeStage.FOLLOW;
  if (!STAGES.includes(stage) || !CALLS.includes(call)) return undefined;
  if (asks && call !== CommandKind.NONE) return undefined;
  return {
    source: back ? second : first,
    target: back ? first : second,
    call,
    callId: view.getUint32(CommandLayout.callId, true),
    ticket: body.getBigUint64(ProbeLayout.ticket, true),
    stage: stage as ProbeStage,
    initiator: body.getInt32(ProbeLayout.initiator, true) as Endpoint,
    initiatorNode: body.getUint32(ProbeLayout.initiatorNode, true) as NodeId,
    initiatorLevel: body.getUint32(ProbeLayout.initiatorLevel, true),
    nonce: body.getBigUint64(ProbeLayout.nonce, true),
    hops: body.getUint32(ProbeLayout.hops, true),
    waits: body.getUint32(ProbeLayout.waits, true),
    sends: body.getUint32(ProbeLayout.sends, true),
    digest: body.getBigUint64(ProbeLayout.digest, true),
  };
}
