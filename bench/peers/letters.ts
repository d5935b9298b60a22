/**
 * A letter of 64 bytes in the forms that ports and channels of Node.js carry: bytes, or an object
 * of numbers.
 */
export type Shape = 'bytes' | 'object';

interface ObjectLetter {
  readonly first: number;
  readonly middle: readonly number[];
  readonly last: number;
}

const WORDS = 16;
const LAST = WORDS - 1;
const MIDDLE: readonly number[] = [0, 0, 0, 0, 0, 0];

export function letterOf(shape: Shape, first: number, last: number): Int32Array | ObjectLetter {
  if (shape === 'object') return { first, middle: MIDDLE, last };
  const letter = new Int32Array(WORDS);
  letter[0] = first;
  letter[LAST] = last;
  return letter;
}

/** Whether a message is a letter and not one about where to run. */
export function isLetter(message: unknown): boolean {
  return message instanceof Int32Array || (message as Partial<ObjectLetter>).first !== undefined;
}

export function wordsOf(letter: unknown): [first: number, last: number] {
  if (letter instanceof Int32Array) return [letter[0] ?? 0, letter[LAST] ?? 0];
  const { first, last } = letter as ObjectLetter;
  return [first, last];
}

/** The answer to a letter: both words changed. */
export function answerLetter(shape: Shape, letter: unknown): Int32Array | ObjectLetter {
  const [first, last] = wordsOf(letter);
  return letterOf(shape, (first + 1) | 0, (last - 1) | 0);
}
