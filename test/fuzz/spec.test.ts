// Whatever a spec holds, parsing it ends with a spec or a SpecError, and nothing else. Method:
// 100,000 mutations of a good spec, from a fixed seed: bytes flipped, inserted and removed, parts
// of the text doubled, swapped, and replaced by words that mean something to YAML.
import { expect, it } from 'vitest';
import { parseSpec, SpecError } from '../../src/vos/spec.ts';
import { lineFor } from '../support/kept-inputs.ts';

const CASES = 100_000;
const SEED = 0x5eed;

// Small parts of a spec, since most of the time goes into reading YAML, and now and then a whole
// one.
const PARTS = [
  'nodes: [{id: 0}]',
  'nodes: [{listen: "[::1]:0"}]',
  'containers: [{arena: 1 MiB}]',
  'containers:\n- nodes: [0, 0]',
  'containers: [services: [{kind: fs}]]',
  'containers: [services: [{kind: fuse, server: f}]]',
];
const WHOLE =
  'dvs: d\nnodes: [{id: 0}]\ncontainers:\n' +
  '- {name: m, services: [{name: f, kind: fs, node: 0, slot: 1, image: i}]}';
const WHOLE_EVERY = 16;
const WORDS = [
  ...[
    '&a',
    '*a',
    '<<: ',
    '!!map ',
    '!x ',
    '? ',
    ': ',
    '- ',
    '{',
    '}',
    '[',
    ']',
    '|\n',
    '>-\n',
    '#',
  ],
  ...['"', "'", '\\', '\t', '\n', '\r', '\0', '---\n', '...\n', '%YAML 9\n', '\u{1f600}', '\ufeff'],
  ...['null', '.nan', '-1', '1e999', '0x10', '__proto__', 'constructor', 'toString', 'nodes', 'id'],
];

/** xorshift32: small, fast, and the same everywhere. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function mutate(text: string, below: (limit: number) => number): string {
  const at = below(text.length + 1);
  const bytes = below(8);
  switch (below(6)) {
    case 0:
      return text.slice(0, at) + String.fromCharCode(below(128)) + text.slice(at + 1);
    case 1:
      return text.slice(0, at) + text.slice(at + bytes);
    case 2:
      return text.slice(0, at) + text.slice(at, at + bytes).repeat(1 + below(4)) + text.slice(at);
    case 3:
      return text.slice(at) + text.slice(0, at);
    default:
      return text.slice(0, at) + (WORDS[below(WORDS.length)] ?? '') + text.slice(at + below(2));
  }
}

it('ends with a spec or a SpecError for every mutation', () => {
  // Nobody looks at the stacks of all these errors, and taking them costs more than the rest.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const below = random(SEED);
  let accepted = 0;
  let refused = 0;

  for (let i = 0; i < CASES; i++) {
    let text = i % WHOLE_EVERY === 0 ? WHOLE : (PARTS[i % PARTS.length] ?? '');
    for (let times = 1 + below(3); times > 0; times--) text = mutate(text, below);
    try {
      parseSpec(text, { file: 'f', directory: '/d', name: 'n' });
      accepted++;
    } catch (error) {
      if (!(error instanceof SpecError) || error.problems.length === 0) {
        throw new Error(`${JSON.stringify(text)}; ${lineFor('spec', Buffer.from(text))}`, {
          cause: error,
        });
      }
      refused++;
    }
  }

  Error.stackTraceLimit = stackTraceLimit;
  expect(accepted + refused).toBe(CASES);
  expect(accepted).toBeGreaterThan(0);
});
