/** What the letters of a mix are, in turn: the same as in native/bench/kernel.cc. */
export const Exchange = {
  /** A letter by sendrec. */
  CALL: 1,
  /** A letter by send, answered by send. */
  SEND: 2,
  /** A notification, answered by one. */
  NOTIFY: 3,
  /** A letter by sendrec with a block, which the server copies before it answers. */
  BLOCK: 4,
} as const;
export type Exchange = (typeof Exchange)[keyof typeof Exchange];

const { CALL, SEND, NOTIFY, BLOCK } = Exchange;
const MIX: readonly Exchange[] = [
  ...[CALL, CALL, SEND, CALL, NOTIFY, CALL, BLOCK, CALL],
  ...[CALL, SEND, CALL, NOTIFY, CALL, BLOCK, SEND, NOTIFY],
];
export const MIX_BLOCK_BYTES: number = 16 * 1024;

/** Which exchange the letter of a counter is; counters may be negative. */
export function exchangeOf(counter: number): Exchange {
  return MIX[counter & (MIX.length - 1)] ?? CALL;
}
