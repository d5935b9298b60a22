/**
 * Blocks of bytes that can be told from one another: a pattern that differs from place to place, so
 * that a shifted copy is seen, and a number in the first and the last word.
 */
const WORD_BYTES = 4;
const STEP = 0x9e3779b1;

function wordsOf(block: Uint8Array): Int32Array {
  return new Int32Array(block.buffer, block.byteOffset, block.length / WORD_BYTES);
}

const patternAt = (index: number): number => Math.imul(index, STEP);

/** Fills `block`, whose address and length are multiples of 4. */
export function fillPattern(block: Uint8Array): void {
  const words = wordsOf(block);
  for (let i = 0; i < words.length; i++) words[i] = patternAt(i);
}

/** Writes the number of a block, 32 bits. */
export function numberBlock(block: Uint8Array, number: number): void {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  view.setInt32(0, number, true);
  view.setInt32(block.length - WORD_BYTES, number, true);
}

/** Whether `block` is the pattern with that number. */
export function checkPattern(block: Uint8Array, number: number): boolean {
  const words = wordsOf(block);
  if (words[0] !== number || words.at(-1) !== number) return false;
  for (let i = 1; i < words.length - 1; i++) {
    if (words[i] !== patternAt(i)) return false;
  }
  return true;
}
