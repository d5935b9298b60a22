/** Letters of 64 bytes over a socket of node:net: a counter in the first word and in the last. */
import type { Socket } from 'node:net';

export const LETTER_BYTES = 64;
/** Where the last word is. */
export const LAST = LETTER_BYTES - 4;

/** Calls back with each whole letter; a letter may come in pieces. */
export function onLetters(socket: Socket, take: (letter: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (; data.length >= LETTER_BYTES; data = data.subarray(LETTER_BYTES)) {
      take(data.subarray(0, LETTER_BYTES));
    }
    rest = data;
  });
}
