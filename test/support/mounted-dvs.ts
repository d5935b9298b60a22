/**
 * A DVS for programs that use files: two nodes, the file system server on node 1, a mount on each;
 * killed and started again part by part, with a record of the memory that its parts take.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/cli/programs.ts';
import { TestPlace } from './dvk-command.ts';

export const SERVICES = ['fs', 'here', 'there'] as const;
export type ServiceName = (typeof SERVICES)[number];

export interface MountedOptions {
  /** Of the image, which has holes. */
  bytes: number;
  /** Of mke2fs. */
  arguments?: readonly string[];
  /** How long one command may take, unless it is told. */
  limitMs: number;
}

/** A command that failed, with what it wrote. */
export class ProgramError extends Error {}

// A command that only returns a status is named when a script ends with it.
const TELLS_WHERE = 'trap \'echo "failed: $BASH_COMMAND" >&2\' ERR\n';

export class MountedDvs {
  readonly place: TestPlace = new TestPlace();
  /** The mounts of nodes 0 and 1, and a directory outside of both. */
  readonly here: string = join(this.place.files, 'here');
  readonly there: string = join(this.place.files, 'there');
  readonly outside: string = join(this.place.files, 'outside');
  readonly image: string = join(this.place.files, 'image');
  readonly #options: MountedOptions;

  constructor(options: MountedOptions) {
    this.#options = options;
    for (const path of [this.here, this.there, this.outside]) mkdirSync(path);
  }

  async up(): Promise<void> {
    const blocks = `${String(this.#options.bytes / 1024)}k`;
    const args = ['-q', '-F', '-t', 'ext4', ...(this.#options.arguments ?? []), this.image, blocks];
    execFileSync(findProgram('mke2fs') ?? 'mke2fs', args, { stdio: 'pipe' });
    const spec = this.place.spec('programs.yaml', [
      'dvs: programs',
      'nodes: [{ id: 0 }, { id: 1 }]',
      'containers:',
      '  - name: mol',
      '    services:',
      `      - { name: fs, kind: fs, node: 1, slot: 1, image: ${this.image} }`,
      `      - { name: here, kind: fuse, node: 0, server: fs, mount: ${this.here} }`,
      `      - { name: there, kind: fuse, node: 1, server: fs, mount: ${this.there} }`,
    ]);
    await this.place.must('up', spec, '--detach');
  }

  /**
   * Runs a shell command with `$HERE`, `$THERE`, `$OUTSIDE` and `env`, and returns what it wrote.
   * Throws a ProgramError when it fails or takes too long.
   */
  async sh(
    script: string,
    env: NodeJS.ProcessEnv = {},
    limitMs = this.#options.limitMs,
  ): Promise<string> {
    const places = { HERE: this.here, THERE: this.there, OUTSIDE: this.outside };
    const options = {
      timeout: limitMs,
      killSignal: 'SIGKILL',
      maxBuffer: 1 << 26,
      cwd: this.outside,
      env: { ...process.env, LC_ALL: 'C.UTF-8', ...places, ...env },
    } as const;
    return await new Promise((resolve, reject) => {
      execFile(
        'bash',
        ['-Eeuo', 'pipefail', '-c', TELLS_WHERE + script],
        options,
        (error, stdout, stderr) => {
          if (error === null) resolve(stdout);
          else reject(new ProgramError(`${script}\n${stdout}${stderr}${error.message}`));
        },
      );
    });
  }

  async pidOf(noun: 'service' | 'node', name: string): Promise<number> {
    const { pid } = await this.place.json<{ pid: number }>(noun, 'info', name);
    if (!(pid > 1)) throw new Error(`${noun} ${name} does not run`);
    return pid;
  }

  /** The most memory that each service had since it was started, in MiB, also what it shares. */
  async peakMiB(): Promise<Record<ServiceName, number>> {
    const peaks = { fs: 0, here: 0, there: 0 };
    for (const name of SERVICES) {
      const status = readFileSync(`/proc/${await this.pidOf('service', name)}/status`, 'utf8');
      peaks[name] = Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? Infinity) / 1024);
    }
    return peaks;
  }

  /** Takes all down and removes it: what was left over, and what e2fsck said of the image. */
  async end(): Promise<{ left: string[]; check: string }> {
    await this.place.run('down');
    const left = this.place.leftovers();
    const check = checkOf(this.image);
    await this.place.end();
    return { left, check };
  }
}

/** What e2fsck -fn says of an image; its exit code too, if that is not 0. */
export function checkOf(image: string): string {
  try {
    const options = { stdio: 'pipe' } as const;
    return execFileSync(findProgram('e2fsck') ?? 'e2fsck', ['-fn', image], options).toString();
  } catch (error) {
    const { stdout, status } = error as { stdout?: Buffer; status?: number };
    return `error: code ${String(status)}\n${String(stdout)}`;
  }
}
