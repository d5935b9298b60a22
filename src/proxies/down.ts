/**
 * Why connections and sessions end, and what their two ends say of it.
 */
import type { FrameFault } from './frame.ts';
import { versionConflict } from './offer.ts';
import type { Refusal } from './transport.ts';

const SHUTDOWN_TEXT_MAX = 200;

/** Why a link ended. */
export type DownCode =
  | Refusal['code']
  | 'shutdown'
  | 'refused'
  | 'time-out'
  | 'handshake-time-out'
  | 'version'
  | 'abi'
  | 'dvs'
  | 'node'
  | 'identity'
  | 'replaced'
  | 'interrupted'
  | 'transport'
  | 'sequence'
  | 'connection'
  | 'over'
  | 'forbidden'
  | 'stopped';

export interface Down {
  code: DownCode;
  detail: string;
}

/** What ends a connection and says nothing of the peer: its session may go on over the next one. */
const INTERRUPTIONS: ReadonlySet<DownCode> = new Set([
  'connection',
  'time-out',
  'interrupted',
  'malformed',
  'sequence',
  'tls',
  'handshake',
  'forbidden',
]);

/** Whether a session may go on after its connection ended like this. */
export function isInterruption({ code }: Down): boolean {
  return INTERRUPTIONS.has(code);
}

/** What a SHUTDOWN says. It goes to a log, so it is cut and cleaned. */
export function shutdownText(payload: Uint8Array): string {
  const text = new TextDecoder().decode(payload.subarray(0, SHUTDOWN_TEXT_MAX));
  return text.replaceAll(/[^\x20-\x7e]/g, '?');
}

/** Why a stream is closed that the frame decoder can make no sense of. */
export function downBy({ code, found }: FrameFault): Down {
  if (code === 'magic' && isTls(found)) {
    const detail = 'the peer speaks TLS, and this node was started with --insecure';
    return { code: 'security', detail };
  }
  if (code === 'version') {
    return { code, detail: versionConflict('the peer', { first: found, last: found }) };
  }
  return { code: 'malformed', detail: `frame refused by its ${code} (${found})` };
}

// What a TLS record begins with: its type (an alert or a handshake), then version 3.
function isTls(magic: number): boolean {
  return [0x0315, 0x0316].includes(magic & 0xffff);
}
