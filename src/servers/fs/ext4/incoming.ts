/**
 * Contents on their way to a file that are still somewhere else, as in the memory of a client: they
 * are copied once, to where they stay.
 */
export interface Incoming {
  readonly length: number;
  subarray(from: number, to: number): Incoming;
  /** Fills `target`, which is as long. Throws FsError; then it holds anything. */
  copyTo(target: Uint8Array): void;
  /** All of them; valid until the next use of what they come from. Throws FsError. */
  bytes(): Uint8Array;
}

export function bytesOf(data: Uint8Array | Incoming): Uint8Array {
  return data instanceof Uint8Array ? data : data.bytes();
}

/** Copies all of `data` to `target`, which is as long. */
export function put(target: Uint8Array, data: Uint8Array | Incoming): void {
  if (data instanceof Uint8Array) target.set(data);
  else data.copyTo(target);
}
