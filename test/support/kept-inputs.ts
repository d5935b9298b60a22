/**
 * Inputs of decoders that are worth keeping: test/fuzz/corpus/NAME.txt, a line of hexadecimal
 * digits each, `#` begins a comment. As native/fuzz/replay.cc does for C++, they are run first and
 * then mutations of them; the one that broke something is told as such a line.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { seeded } from './datagram-network.ts';

const BYTES_MAX = 4096;
const EDGES = [0, 1, 0x7f, 0x80, 0xff];

/** An integer below `limit`. */
export type Random = (limit: number) => number;

/** Where the corpus of that name is. */
function corpusPath(name: string): string {
  return fileURLToPath(new URL(`../fuzz/corpus/${name}.txt`, import.meta.url));
}

/** The kept inputs of that name; there is one at least. */
export function keptInputs(name: string): Uint8Array[] {
  const lines = readFileSync(corpusPath(name), 'utf8').split('\n');
  const inputs = lines.flatMap((line) => {
    const [hex = ''] = /^(?:[0-9a-f]{2})+/.exec(line) ?? [];
    return hex === '' ? [] : [Uint8Array.from(Buffer.from(hex, 'hex'))];
  });
  if (inputs.length === 0) throw new Error(`no inputs in ${corpusPath(name)}`);
  return inputs;
}

/** Calls `run` with each kept input, then with `mutations` of them, which follow from the seed. */
export function runInputs(
  name: string,
  { mutations, seed = 1 }: { mutations: number; seed?: number },
  run: (input: Uint8Array) => void,
): void {
  const kept = keptInputs(name);
  const random = seeded(seed);
  const below: Random = (limit) => Math.floor(random() * limit);
  for (const input of kept) runInput(name, input, run);
  for (let i = 0; i < mutations; i++) runInput(name, mutated(kept, below), run);
}

/** Calls `run`; an error of it says which line of the corpus of that name brings it again. */
export function runInput(name: string, input: Uint8Array, run: (input: Uint8Array) => void): void {
  // What decodes in place must not change what is told.
  const bytes = Uint8Array.from(input);
  try {
    run(bytes);
  } catch (error) {
    throw new Error(`${String(error)}; ${lineFor(name, input)}`, { cause: error });
  }
}

/** Says which line of the corpus of that name brings an input again. */
export function lineFor(name: string, input: Uint8Array): string {
  return `a line for test/fuzz/corpus/${name}.txt: ${Buffer.from(input).toString('hex')}`;
}

function mutated(kept: readonly Uint8Array[], random: Random): Uint8Array {
  const pick = (): number[] => [...(kept[random(kept.length)] ?? [])];
  const bytes = pick();
  const strange = (): number => (random(2) === 0 ? (EDGES[random(5)] ?? 0) : random(256));
  for (let count = 1 + random(6); count > 0; count--) {
    if (bytes.length === 0) bytes.push(strange());
    const at = random(bytes.length);
    switch (random(6)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
        break;
      case 1:
        for (let i = at; i < Math.min(at + 4, bytes.length); i++) bytes[i] = strange();
        break;
      case 2:
        bytes[at] = strange();
        break;
      case 3:
        bytes.length = at;
        break;
      case 4:
        bytes.splice(at, 0, ...new Array<number>(1 + random(8)).fill(strange()));
        break;
      default: {
        const other = pick();
        bytes.push(...other.slice(random(other.length)));
      }
    }
  }
  return Uint8Array.from(bytes.slice(0, BYTES_MAX));
}
