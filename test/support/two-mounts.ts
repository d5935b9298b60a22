/**
 * A container of two nodes with FS on node 1 and a mount of it on each, that can be written to, and
 * programs that use both.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/cli/programs.ts';
import { TestPlace } from './dvk-command.ts';

const LIMIT_MS = 20_000;

export interface TwoMountsOptions {
  /** Each node has a strict mount besides, whose path ends in `-strict`. */
  readonly strict?: boolean;
  /** What FS may use of the arena, as a spec says it. */
  readonly memory?: string;
  /** FS goes past the page cache, where what holds the image lets it. */
  readonly direct?: boolean;
}

export class TwoMounts {
  readonly place: TestPlace = new TestPlace();
  readonly here: string = join(this.place.files, 'here');
  readonly there: string = join(this.place.files, 'there');
  readonly #image: string;
  readonly #tree: string;

  private constructor() {
    const { image, tree } = this.place.image(64 << 20);
    // The big file makes room; it is given back before the tests begin.
    execFileSync(findProgram('debugfs') ?? 'debugfs', ['-w', '-R', 'rm big', image]);
    this.#image = image;
    this.#tree = tree;
  }

  /** Needs what `whyNoMounts` looks for. */
  static async start({
    strict = false,
    memory,
    direct,
  }: TwoMountsOptions = {}): Promise<TwoMounts> {
    const mounts = new TwoMounts();
    const services = [mounts.here, mounts.there].flatMap((path, node) => {
      const [name, at] = [node === 0 ? 'here' : 'there', `node: ${String(node)}`];
      mkdirSync(path);
      const plain = `      - { name: ${name}, kind: fuse, ${at}, server: fs, mount: ${path} }`;
      if (!strict) return [plain];
      mkdirSync(`${path}-strict`);
      const strictly = `kind: fuse, server: fs, coherence: strict, mount: ${path}-strict`;
      return [plain, `      - { name: strict-${name}, ${at}, ${strictly} }`];
    });
    const memoryOf = memory === undefined ? '' : `, memory: ${memory}`;
    const more = direct === true ? `${memoryOf}, direct: true` : memoryOf;
    const spec = mounts.place.spec('writing.yaml', [
      'dvs: writing',
      'nodes: [{ id: 0 }, { id: 1 }]',
      'containers:',
      '  - name: mol',
      '    services:',
      `      - { name: fs, kind: fs, node: 1, slot: 1, image: ${mounts.#image}${more} }`,
      ...services,
    ]);
    await mounts.place.must('up', spec, '--detach');
    return mounts;
  }

  /** Ends everything: what is left of it, and what e2fsck -fn says of the image. */
  async end(): Promise<{ readonly left: unknown; readonly check: string }> {
    await this.place.run('down');
    const left = this.place.leftovers();
    const e2fsck = findProgram('e2fsck') ?? 'e2fsck';
    const check = execFileSync(e2fsck, ['-fn', this.#image]).toString();
    await this.place.end();
    return { left, check };
  }

  /** Runs a shell command with `$HERE`, `$THERE` and `$TREE`; throws if it fails. */
  async sh(script: string): Promise<string> {
    const paths = { HERE: this.here, THERE: this.there, TREE: this.#tree };
    const env = { ...process.env, ...paths, LC_ALL: 'C.UTF-8' };
    const options = { timeout: LIMIT_MS, killSignal: 'SIGKILL', maxBuffer: 1 << 26, env } as const;
    return await new Promise((resolve, reject) => {
      execFile('bash', ['-euc', script], options, (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`${script}\n${stdout}${stderr}${error.message}`));
      });
    });
  }

  /** Runs a program for Python 3 with `here` and `there`, which prints what is to be compared. */
  async python(...lines: string[]): Promise<string> {
    const head = [
      'import os, fcntl, errno',
      "here = os.environ['HERE']; there = os.environ['THERE']",
      // Beside the mounts: a path through one of them would wait for its server.
      'home = os.path.dirname(here)',
    ];
    const program = [...head, ...lines].join('\n');
    return await this.sh(`python3 - <<'END'\n${program}\nEND`);
  }
}
