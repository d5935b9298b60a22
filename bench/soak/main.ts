/**
 * `dvk soak --links`: callers on three nodes verify every answer while links are cut and go silent,
 * cables are pulled, proxies are killed, nodes are stopped and resumed, and datagrams are lost and
 * change places, as a seed says. Two of the nodes are joined by TCP and UDP, and lose one of the
 * two, both, or one again and again.
 *
 * What must hold: each call is answered once, by whom it was for, with the right contents, or fails
 * with a documented error; none takes longer than any fault lasts with what follows from it; the
 * proxies' memory does not grow; when the network is well again, so is everything else.
 */
import { withCleanup, type Cleanup } from '../cleanup.ts';
import type { Counts } from './member.ts';
import { seeded } from './random.ts';
import { BONDED, LINKS, NODES, SoakWorld, type SoakLink, type SoakNode } from './world.ts';

export interface SoakOptions {
  minutes: number;
  seed: number;
  json: boolean;
  /** A line of the result. */
  line: (text: string) => void;
  /** A line about what goes on. */
  note: (text: string) => void;
}

/** Errors of calls to other nodes that are documented for lost links and nodes. */
const DOCUMENTED = new Set(['ENOTCONN', 'EDVSNOPROXY', 'EDEADSRCDST', 'EDSTDIED', 'ESRCDIED']);
// Also what a server's reply gives when its caller heard ENOTCONN meanwhile.
const DOCUMENTED_OF_REPLIES = new Set([...DOCUMENTED, 'EDVSPROCSTS']);
const MINUTE_MS = 60_000;
const SAMPLE_MS = 1000;
const NOTE_MS = 10_000;
// Of datagrams.
const LOSS = 0.05;
const SWAP = 0.05;
// The system has this long to be well again when the faults are over.
const RECOVERY_MS = 30_000;
const ROW = 30;
// A proxy younger than this still allocates its buffers.
const GROWN_MS = 8000;
const SLACK_BYTES = 64 * 1024 * 1024;
const SLACK_FACTOR = 1.5;
// On a machine that stood still for so long in one piece, a call that took too long proves nothing.
const STALL_MS = 5000;

interface Sample {
  atMs: number;
  bytes: number;
}

async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

async function until(met: () => boolean, timeoutMs: number): Promise<boolean> {
  for (const endMs = performance.now() + timeoutMs; performance.now() < endMs;) {
    if (met()) return true;
    await sleep(50);
  }
  return met();
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

const KINDS = [
  ...(['cut', 'cut', 'silent', 'unplug', 'kill', 'kill', 'stop', 'stop'] as const),
  ...(['both paths', 'flap', 'flap'] as const),
] as const;
type Kind = (typeof KINDS)[number];

function victimsOf(kind: Kind, node: SoakNode, link: SoakLink): (SoakNode | SoakLink)[] {
  if (kind === 'kill' || kind === 'stop') return [node];
  if (kind === 'both paths') return [...BONDED];
  return kind === 'flap' ? BONDED.slice(0, 1) : [link];
}

/** What is done to the system, one thing after the other, at times two at once. */
class Chaos {
  readonly #world: SoakWorld;
  readonly #random: () => number;
  readonly #busy = new Set<SoakNode | SoakLink>();
  readonly done: Record<string, number> = {};
  isOver = false;

  constructor(world: SoakWorld, seed: number) {
    this.#world = world;
    this.#random = seeded(seed);
  }

  async run(): Promise<void> {
    const running = new Set<Promise<void>>();
    while (!this.isOver) {
      await sleep(300 + 1700 * this.#random());
      const fault = this.#fault();
      running.add(fault);
      void fault.finally(() => running.delete(fault));
      if (this.#random() < 0.6 || running.size > 1) await Promise.race([fault, this.#end()]);
    }
    await Promise.all(running);
  }

  async #end(): Promise<void> {
    while (!this.isOver) await sleep(100);
  }

  // Most faults are shorter than sessions are held, some are longer.
  #durationMs(): number {
    return this.#random() < 0.2 ? 7500 + 1500 * this.#random() : 200 + 2800 * this.#random();
  }

  async #wait(ms: number): Promise<void> {
    await Promise.race([sleep(ms), this.#end()]);
  }

  async #fault(): Promise<void> {
    const kind = KINDS[Math.floor(this.#random() * KINDS.length)] ?? 'cut';
    const node = this.#world.nodes[Math.floor(this.#random() * NODES)];
    const link = LINKS[Math.floor(this.#random() * LINKS.length)];
    if (node === undefined || link === undefined) return;
    const victims = victimsOf(kind, node, link);
    if (victims.some((victim) => this.#busy.has(victim))) return;
    for (const victim of victims) this.#busy.add(victim);
    this.done[kind] = (this.done[kind] ?? 0) + 1;
    try {
      if (kind === 'kill') await this.#kill(node);
      else if (kind === 'stop') await this.#stop(node);
      else if (kind === 'both paths') await this.#loseBoth();
      else if (kind === 'flap') await this.#flap();
      else await this.#disturb(link, kind);
    } finally {
      for (const victim of victims) this.#busy.delete(victim);
    }
  }

  // The paths of one link are lost one after the other, and come back in any order.
  async #loseBoth(): Promise<void> {
    await Promise.all(
      BONDED.map(async (path) => {
        await this.#wait(1000 * this.#random());
        await this.#disturb(path, this.#random() < 0.5 ? 'silent' : 'unplug');
      }),
    );
  }

  // The preferred path comes and goes.
  async #flap(): Promise<void> {
    const [path] = BONDED;
    const times = 2 + Math.floor(3 * this.#random());
    for (let i = 0; path !== undefined && i < times && !this.isOver; i++) {
      await this.#disturb(path, this.#random() < 0.5 ? 'cut' : 'silent');
      await this.#wait(7000 * this.#random());
    }
  }

  async #kill(node: SoakNode): Promise<void> {
    await this.#world.killProxy(node);
    await this.#wait(1500 * this.#random());
    await this.#world.startProxy(node);
  }

  async #stop(node: SoakNode): Promise<void> {
    node.signal('SIGSTOP');
    try {
      await this.#wait(this.#durationMs());
    } finally {
      node.signal('SIGCONT');
    }
  }

  async #disturb(link: SoakLink, kind: 'cut' | 'silent' | 'unplug'): Promise<void> {
    const { cables } = this.#world;
    if (kind === 'cut' && link.transport === 'tcp') {
      this.#world.relay(link, { cut: true });
      return;
    }
    const ms = kind === 'cut' ? 1000 * this.#random() : this.#durationMs();
    if (kind === 'unplug' && cables.isReal) cables.plug(link, 'down');
    else this.#world.relay(link, { silent: true });
    await this.#wait(ms);
    cables.plug(link, 'up');
    this.#world.relay(link, { silent: false });
  }
}

/** What members and proxies have told, added up. */
interface Sum {
  calls: number;
  answered: number;
  failed: Record<string, number>;
  wrong: number;
  repeated: number;
  copies: number;
  copiedBytes: number;
  longestMs: number;
}

function add(sum: Sum, counts: Counts, isServer: boolean): void {
  sum.wrong += counts.wrong;
  sum.repeated += counts.repeated;
  if (isServer) return;
  sum.calls += counts.calls;
  sum.answered += counts.answered;
  sum.copies += counts.copies;
  sum.copiedBytes += counts.copiedBytes;
  sum.longestMs = Math.max(sum.longestMs, Math.round(counts.longestMs));
  for (const [code, count] of Object.entries(counts.failed)) {
    sum.failed[code] = (sum.failed[code] ?? 0) + count;
  }
}

class Soak {
  readonly #options: SoakOptions;
  readonly #world: SoakWorld;
  readonly #chaos: Chaos;
  readonly #samples = new Map<number, Sample[]>();
  readonly #problems: string[] = [];
  readonly #startMs = performance.now();
  /** The longest time for which this process was not given the CPU. */
  #stalledMs = 0;

  constructor(options: SoakOptions, cleanup: Cleanup) {
    this.#options = options;
    this.#world = new SoakWorld(cleanup, options.seed);
    this.#chaos = new Chaos(this.#world, options.seed);
  }

  async run(): Promise<boolean> {
    const { minutes, note } = this.#options;
    await this.#world.start();
    for (const link of LINKS) {
      if (link.transport === 'udp') this.#world.relay(link, { loss: LOSS, swap: SWAP });
    }
    const where = this.#world.cables.isReal ? 'in network namespaces' : 'without namespaces';
    const seconds = Math.round(minutes * 60);
    note(`seed ${this.#options.seed}: ${NODES} nodes ${where}, ${seconds} s of faults`);
    const chaos = this.#chaos.run();
    await this.#watch(minutes * MINUTE_MS);
    this.#chaos.isOver = true;
    await chaos;
    await this.#recover();
    this.#judge();
    this.#problems.push(...(await this.#world.end()));
    this.#report();
    return this.#problems.length === 0;
  }

  get #spentMs(): number {
    return performance.now() - this.#startMs;
  }

  async #watch(ms: number): Promise<void> {
    const born = new Map<number, { life: number; atMs: number }>();
    let notedMs = performance.now();
    for (const endMs = performance.now() + ms; performance.now() < endMs;) {
      const asleepMs = performance.now();
      await sleep(SAMPLE_MS);
      const nowMs = performance.now();
      this.#stalledMs = Math.max(this.#stalledMs, nowMs - asleepMs - SAMPLE_MS);
      for (const node of this.#world.nodes) {
        if (born.get(node.number)?.life !== node.lives) {
          born.set(node.number, { life: node.lives, atMs: nowMs });
        }
        const bytes = node.proxyBytes;
        if (bytes === undefined || nowMs - (born.get(node.number)?.atMs ?? 0) < GROWN_MS) continue;
        const samples = this.#samples.get(node.number) ?? [];
        samples.push({ atMs: this.#spentMs, bytes });
        this.#samples.set(node.number, samples);
      }
      this.#checkMembers();
      if (nowMs - notedMs < NOTE_MS) continue;
      notedMs = nowMs;
      this.#options.note(this.#progress());
    }
  }

  #checkMembers(): void {
    for (const { number, members } of this.#world.nodes) {
      const dead = members.filter(({ isAlive }) => !isAlive).length;
      if (dead > 0) throw new Error(`${dead} processes of node ${number} died`);
    }
  }

  #progress(): string {
    const { calls, answered, failed, wrong, repeated } = this.#sum();
    const lost = Object.values(failed).reduce((sum, count) => sum + count, 0);
    const memory = this.#world.nodes
      .map(({ proxyBytes }) => (proxyBytes === undefined ? '-' : mebibytes(proxyBytes)))
      .join('/');
    const spent = Math.round(this.#spentMs / 1000);
    const faults = Object.values(this.#chaos.done).reduce((sum, count) => sum + count, 0);
    return (
      `${spent} s: ${faults} faults, ${calls} calls, ${answered} answered, ${lost} failed, ` +
      `${wrong} wrong, ${repeated} repeated, proxies ${memory} MiB`
    );
  }

  #sum(): Sum {
    const sum: Sum = {
      calls: 0,
      answered: 0,
      failed: {},
      wrong: 0,
      repeated: 0,
      copies: 0,
      copiedBytes: 0,
      longestMs: 0,
    };
    for (const { server, callers } of this.#world.nodes) {
      if (server.counts) add(sum, server.counts, true);
      for (const { counts } of callers) if (counts) add(sum, counts, false);
    }
    return sum;
  }

  // All links come up, and every caller has answers again.
  async #recover(): Promise<void> {
    const { nodes } = this.#world;
    const isLinked = (): boolean => nodes.map(({ isLinked }) => isLinked).every(Boolean);
    if (!(await until(isLinked, RECOVERY_MS))) {
      const state = nodes.map(({ number, statistics }) => {
        const peers = statistics?.peers.map(
          ({ node, state, lastDown }) => `${node} ${state} (${lastDown?.detail ?? ''})`,
        );
        return `${number}: ${peers?.join(', ') ?? 'no answer'}`;
      });
      this.#problems.push(`links did not come up again: ${state.join('; ')}`);
    }
    const callers = nodes.flatMap(({ callers }) => callers);
    const isServed = (): boolean => callers.every(({ counts }) => (counts?.inARow ?? 0) >= ROW);
    if (!(await until(isServed, RECOVERY_MS))) {
      const rows = callers.map(({ counts }) => counts?.inARow ?? 0).join(' ');
      this.#problems.push(`not every caller has answers again: ${rows} in a row`);
    }
    // The last counts.
    await sleep(1500);
    this.#checkMembers();
  }

  #judge(): void {
    const { nodes } = this.#world;
    const { wrong, repeated, failed, answered } = this.#sum();
    if (wrong > 0) this.#problems.push(`${wrong} answers or copies were wrong`);
    if (repeated > 0) this.#problems.push(`${repeated} requests came twice`);
    if (answered === 0) this.#problems.push('no call was answered');
    const paths = ['cut', 'silent', 'unplug', 'flap'].filter((kind) => this.#chaos.done[kind]);
    if (paths.length === 4 && this.#moves === 0) {
      this.#problems.push('the link of two paths never went to the other one');
    }
    for (const code of Object.keys(failed)) {
      const isStall = code === 'ETIMEDOUT' && this.#stalledMs > STALL_MS;
      if (!DOCUMENTED.has(code) && !isStall) this.#problems.push(`calls ended with ${code}`);
    }
    for (const { server, number, segment } of nodes) {
      for (const code of Object.keys(server.counts?.failed ?? {})) {
        if (!DOCUMENTED_OF_REPLIES.has(code)) this.#problems.push(`replies ended with ${code}`);
      }
      for (const fault of segment.check(100)) this.#problems.push(`node ${number}: ${fault}`);
      this.#judgeMemory(number);
    }
  }

  #judgeMemory(node: number): void {
    const [first, last] = this.#thirds(node);
    if (first === undefined || last === undefined) return;
    if (last <= SLACK_FACTOR * first + SLACK_BYTES) return;
    const grown = `${mebibytes(first)} to ${mebibytes(last)} MiB`;
    this.#problems.push(`the proxy of node ${node} grew from ${grown}`);
  }

  /** How often the session of two paths went from one to the other, as both ends saw it. */
  get #moves(): number {
    return this.#world.nodes.reduce((sum, { moves }) => sum + moves, 0);
  }

  // The usual size in the first and in the last third of the run.
  #thirds(node: number): [number | undefined, number | undefined] {
    const samples = this.#samples.get(node) ?? [];
    const third = Math.floor(samples.length / 3);
    if (third === 0) return [undefined, undefined];
    const bytes = samples.map((sample) => sample.bytes);
    return [median(bytes.slice(0, third)), median(bytes.slice(-third))];
  }

  #report(): void {
    const { json, line, seed, minutes } = this.#options;
    const { nodes } = this.#world;
    const sum = this.#sum();
    const changes = nodes.map((node) => node.changes);
    const total = (state: 'up' | 'held' | 'down'): number =>
      changes.reduce((all, one) => all + one[state], 0);
    const memory = nodes.map(({ number, lives }) => {
      const [first, last] = this.#thirds(number);
      return { node: number, proxies: lives, first: first ?? null, last: last ?? null };
    });
    const faults = this.#chaos.done;
    const links = { up: total('up'), held: total('held'), down: total('down'), moved: this.#moves };
    const problems = this.#problems;
    const ok = problems.length === 0;
    if (json) {
      const namespaces = this.#world.cables.isReal;
      const world = { namespaces, stalledMs: Math.round(this.#stalledMs) };
      const document = { soak: 'links', seed, minutes, ...world, ...sum, faults, links, memory };
      line(JSON.stringify({ ...document, ok, problems }, undefined, 2));
      return;
    }
    line(`calls     ${sum.calls}: ${sum.answered} answered, ${textOf(sum.failed)}`);
    line(`copies    ${sum.copies}, ${mebibytes(sum.copiedBytes)} MiB`);
    line(`wrong     ${sum.wrong}, repeated ${sum.repeated}, longest call ${sum.longestMs} ms`);
    if (this.#stalledMs > STALL_MS) line(`machine   stood still for ${this.#stalledMs} ms`);
    line(`faults    ${textOf(faults)}`);
    line(`links     came up ${links.up} times, were held ${links.held}, went down ${links.down}`);
    line(`paths     the link of two paths went to the other one ${links.moved} times`);
    for (const { node, proxies, first, last } of memory) {
      const sizes = first === null ? '' : `, ${mebibytes(first)} then ${mebibytes(last ?? 0)} MiB`;
      line(`node ${node}    ${proxies} proxies${sizes}`);
    }
    for (const problem of problems) line(`PROBLEM   ${problem}`);
    line(ok ? 'ok' : 'not ok');
  }
}

function mebibytes(bytes: number): string {
  return String(Math.round(bytes / 2 ** 20));
}

function textOf(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  return parts.length === 0 ? 'none failed' : parts.join(', ');
}

/** Runs the soak. Returns whether all went well. */
export async function soakLinks(options: SoakOptions): Promise<boolean> {
  return withCleanup(async (cleanup) => new Soak(options, cleanup).run());
}
