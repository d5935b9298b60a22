// The runtime directory: it must be in memory, and the state file is read whole or not at all.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CliError } from '../../../src/cli/output.ts';
import {
  chooseDvs,
  DvsPaths,
  findRuntime,
  isMemoryBacked,
  listDvs,
  readState,
  writeState,
} from '../../../src/cli/runtime.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync('/dev/shm/dvk-unit-');
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

function messageOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    return `${String(error.exitCode)} ${error.message} ${error.remedy ?? ''}`;
  }
  return '';
}

describe('findRuntime', () => {
  it('takes the option before the environment', () => {
    const environment = { DVK_RUNTIME_DIR: '/dev/shm/other' };

    expect(findRuntime(directory, environment).directory).toBe(directory);
    expect(findRuntime(undefined, environment).directory).toBe('/dev/shm/other');
  });

  it('accepts a directory that is not there yet', () => {
    expect(findRuntime(join(directory, 'a/b'), {}).directory).toBe(join(directory, 'a/b'));
  });

  it.skipIf(isMemoryBacked(tmpdir()))('refuses a directory on a disk, and says why', () => {
    const message = messageOf(() => findRuntime(join(tmpdir(), 'x'), {}));

    expect(message).toMatch(/^2 .* is not in memory \(tmpfs\).*Use a directory below \/dev\/shm/);
  });

  it('finds a directory in memory by itself, and says so when it is not the standard one', () => {
    const { directory: found, note } = findRuntime(undefined, {});

    expect(isMemoryBacked(found)).toBe(true);
    expect(note !== undefined || found.startsWith('/run')).toBe(true);
  });
});

describe('DvsPaths', () => {
  it('refuses paths that are too long for a unix socket', () => {
    const message = messageOf(() => {
      new DvsPaths(`/dev/shm/${'x'.repeat(90)}`, 'demo').checkLength();
    });

    expect(message).toMatch(
      /^2 .* too long a path for unix sockets, by \d+ bytes Choose a shorter/,
    );
  });
});

describe('chooseDvs', () => {
  it('takes the only one', () => {
    mkdirSync(join(directory, 'one'));

    expect(chooseDvs(directory, undefined).dvs).toBe('one');
  });

  it('asks for a name when there are several', () => {
    mkdirSync(join(directory, 'one'));
    mkdirSync(join(directory, 'two'));

    expect(messageOf(() => chooseDvs(directory, undefined))).toContain('one, two');
    expect(chooseDvs(directory, 'two').dvs).toBe('two');
    expect(listDvs(directory)).toEqual(['one', 'two']);
  });

  it('says so when there is none, or none of that name', () => {
    expect(messageOf(() => chooseDvs(directory, undefined))).toContain('no DVS is up');
    expect(messageOf(() => chooseDvs(directory, 'x'))).toContain('no DVS x');
  });
});

describe('the state file', () => {
  it('is read as it was written', () => {
    mkdirSync(join(directory, 'demo'));
    const paths = new DvsPaths(directory, 'demo');
    const spec = {
      dvs: 'demo',
      nodes: [],
      transport: 'tcp',
      links: [],
      etherType: 0x88b5,
      containers: [],
    } as const;
    const state = {
      state: 'running',
      security: { mode: 'sealed', directory: '/certificates' },
      since: 5,
      spec,
      ports: { 0: 7 },
      madeDirectories: [],
    } as const;

    writeState(paths, state);

    expect(readState(paths)).toEqual({ ...state, format: 3 });
  });

  it.each(['', '{', '[]', '{"format":99}', 'null'])('is not there when it holds %j', (text) => {
    mkdirSync(join(directory, 'demo'));
    const paths = new DvsPaths(directory, 'demo');
    writeFileSync(paths.state, text);

    expect(readState(paths)).toBeUndefined();
  });
});
