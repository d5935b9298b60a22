// What the command writes: tables, steps and errors, on a terminal and elsewhere.
import { describe, expect, it } from 'vitest';
import { age, CliError, Output } from '../../../src/cli/output.ts';

interface Written {
  output: Output;
  out: () => string;
  err: () => string;
}

function capture(options: { isTTY?: boolean; environment?: Record<string, string> } = {}): Written {
  const text = { out: '', err: '' };
  const sink = (name: 'out' | 'err'): { isTTY: boolean; write: (chunk: string) => void } => ({
    isTTY: options.isTTY === true,
    write: (chunk) => {
      text[name] += chunk;
    },
  });
  const output = new Output(sink('out'), sink('err'), options.environment ?? {});
  return { output, out: () => text.out, err: () => text.err };
}

describe('a table', () => {
  it('has columns as wide as their longest cell, and numbers to the right', () => {
    const { output, out } = capture();

    output.table(
      ['NAME', 'PID'],
      [
        ['fs', 7],
        ['gateway', 12345],
      ],
    );

    expect(out()).toBe('NAME     PID\nfs           7\ngateway  12345\n');
  });

  it('fills cells that a row leaves out', () => {
    const { output, out } = capture();

    output.table(['A', 'B'], [['x']]);

    expect(out()).toBe('A  B\nx\n');
  });

  it('is coloured on a terminal, and lines up all the same', () => {
    const { output, out } = capture({ isTTY: true });

    output.table(['STATE', 'N'], [[['up', 'green'], 1]]);

    expect(out()).toBe('\x1b[1mSTATE\x1b[22m  \x1b[1mN\x1b[22m\n\x1b[32mup\x1b[39m     1\n');
  });

  it('is plain when NO_COLOR is set', () => {
    const { output, out } = capture({ isTTY: true, environment: { NO_COLOR: '1' } });

    output.table(['STATE'], [[['up', 'green']]]);

    expect(out()).toBe('STATE\nup\n');
  });
});

describe('a step', () => {
  it('is shown on stderr with what it did and how long it took', async () => {
    const { output, out, err } = capture();

    await output.step('links', async () => Promise.resolve('3 over TCP'));

    expect(err()).toMatch(/^ {2}ok links: 3 over TCP {2}\d+\.\d\d s\n$/);
    expect(out()).toBe('');
  });

  it('is shown as it begins on a terminal', async () => {
    const { output, err } = capture({ isTTY: true, environment: { NO_COLOR: '1' } });
    let during = '';

    await output.step('links', async () => {
      during = err();
      return Promise.resolve(undefined);
    });

    expect(during).toBe('  .. links');
    expect(err()).toContain('\r\x1b[K  ok links');
  });

  it('passes a failure on', async () => {
    const { output, err } = capture();
    const failing = output.step('links', async () => Promise.reject(new Error('no')));

    await expect(failing).rejects.toThrow('no');
    expect(err()).toContain('!! links');
  });
});

describe('an error', () => {
  it('is shown with its remedy and without a stack', () => {
    const { output, err } = capture();

    output.error(new CliError('it is broken', 'Mend it.'));

    expect(err()).toBe('error: it is broken\n  Mend it.\n');
  });

  it('is shown with a stack when it is a mistake of the program', () => {
    const { output, err } = capture();

    output.error(new TypeError('x is not a function'));

    expect(err()).toContain('error: x is not a function\nTypeError: ');
  });
});

describe('age', () => {
  it.each([
    [5, '5 s'],
    [119, '119 s'],
    [600, '10 min'],
    [7200, '2 h'],
    [200_000, '2 d'],
    [-5, '0 s'],
  ])('of %d seconds is %s', (seconds, expected) => {
    expect(age(1_000_000 - seconds * 1000, 1_000_000)).toBe(expected);
  });
});

it('writes one JSON document', () => {
  const { output, out } = capture();

  output.json({ items: [1] });

  expect(JSON.parse(out())).toEqual({ items: [1] });
});
