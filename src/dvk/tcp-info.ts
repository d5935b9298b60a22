/** What the kernel knows of a TCP connection, and how it sends there (tcp(7)). */
import { native } from './native.ts';

export interface TcpInfo {
  /** Smoothed round-trip time, its variation, and the smallest seen. */
  rttMs: number;
  rttVariationMs: number;
  rttMinMs: number;
  /** Longest segment that is sent, in bytes of data. */
  segmentBytes: number;
  /** Congestion window. */
  windowBytes: number;
  segmentsSent: number;
  segmentsReceived: number;
  /** Segments that were sent again. */
  resent: number;
  /** Bytes a second that arrived, as last measured; 0 before that. */
  deliveryRate: number;
  /** Whether there was not enough to send when that was measured, so that it may be more. */
  isRateLimited: boolean;
}

const FIELDS = 10;

/** Asks about the socket behind `fd`; undefined when it is no TCP connection. */
export function tcpInfo(fd: number): TcpInfo | undefined {
  const values = new Float64Array(FIELDS);
  if (native().tcpInfo(fd, new Uint8Array(values.buffer)) !== 0) return undefined;
  const [rttMs = 0, rttVariationMs = 0, rttMinMs = 0, segmentBytes = 0, ...rest] = values;
  const [windowBytes = 0, segmentsSent = 0, segmentsReceived = 0, resent = 0, ...rate] = rest;
  const [deliveryRate = 0, limited = 0] = rate;
  return {
    rttMs,
    rttVariationMs,
    rttMinMs,
    segmentBytes,
    windowBytes,
    segmentsSent,
    segmentsReceived,
    resent,
    deliveryRate,
    isRateLimited: limited !== 0,
  };
}

/**
 * Chooses the congestion control of the socket behind `fd` (TCP_CONGESTION). Returns whether the
 * kernel has one of that name, and lets this user have it.
 */
export function setTcpCongestion(fd: number, name: string): boolean {
  return native().tcpCongestion(fd, name) === 0;
}

/**
 * Gives `bytes` to the kernel, as many as it has room for. Returns how many: 0 also when the socket
 * behind `fd` failed, which its next write shows.
 */
export function sendAtOnce(fd: number, bytes: Uint8Array): number {
  return Math.max(0, native().sendAtOnce(fd, bytes));
}
