/**
 * Waits of processes for those of other nodes: what probes follow (src/proxies/prober.ts), as the
 * core tells them.
 */
import { RemoteWaitLayout } from './abi/abi.gen.ts';
import type { Endpoint, NodeId } from './endpoint.ts';

export const REMOTE_WAIT_BYTES: number = RemoteWaitLayout.BYTES;

export interface RemoteWait {
  waiter: Endpoint;
  /** Whom it waits for. */
  target: Endpoint;
  /** Where the target lives. */
  node: NodeId;
  /** SEND_MSG or SNDREC_MSG; NONE for a receive. */
  call: number;
  /** Number of that call; 0 for a receive. */
  callId: number;
  /** ProcessLevel of the waiter. */
  level: number;
  /** Tells this wait from every other one of its node. */
  ticket: bigint;
  /** Waits on the path through this node that ends with this one, itself included. */
  waits: number;
  /** Of the path's waits before this one, those whose message was not taken yet. */
  sends: number;
  /** Of the path's waits. 64 bits. */
  digest: bigint;
}

/** A wait of a process of `node` for one of this node, as `node` tells it. */
export interface WaitEdge {
  node: NodeId;
  source: Endpoint;
  target: Endpoint;
  call: number;
  callId: number;
}

/** Reads the first wait in `bytes`. */
export function remoteWaitIn(bytes: Uint8Array): RemoteWait {
  const view = new DataView(bytes.buffer, bytes.byteOffset, REMOTE_WAIT_BYTES);
  return {
    waiter: view.getInt32(RemoteWaitLayout.waiter, true) as Endpoint,
    target: view.getInt32(RemoteWaitLayout.target, true) as Endpoint,
    node: view.getUint32(RemoteWaitLayout.node, true) as NodeId,
    call: view.getUint32(RemoteWaitLayout.call, true),
    callId: view.getUint32(RemoteWaitLayout.callId, true),
    level: view.getUint32(RemoteWaitLayout.level, true),
    ticket: view.getBigUint64(RemoteWaitLayout.ticket, true),
    waits: view.getUint32(RemoteWaitLayout.waits, true),
    sends: view.getUint32(RemoteWaitLayout.sends, true),
    digest: view.getBigUint64(RemoteWaitLayout.digest, true),
  };
}
