/**
 * Two network namespaces joined by a veth pair, with faults of the kernel's own: random loss by a
 * filter, a bandwidth by a token bucket, and the cable pulled.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { DEFAULT_ETHER_TYPE, formatMac } from '../../src/dvk/ethernet.ts';
import { ethernetInterface, PacketSocket } from '../../src/dvk/packet-socket.ts';
import { enterNetwork } from '../../src/dvk/system.ts';

/**
 * Calls `work` as if this process were in a namespace: for sockets that it opens, before it
 * returns.
 */
export function within<T>(name: string, work: () => T): T {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    enterNetwork(`/run/netns/${name}`);
    return work();
  } finally {
    enterNetwork(`/proc/self/fd/${home}`);
    closeSync(home);
  }
}

/** What runs a program in a namespace. */
export function inNamespace(name: string): string[] {
  return ['ip', 'netns', 'exec', name];
}

function run(...command: string[]): void {
  const [program = '', ...rest] = command;
  execFileSync(program, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
}

// The place from which classic BPF loads a random number: SKF_AD_OFF + SKF_AD_RANDOM of
// linux/filter.h.
const RANDOM_WORD = 0xffff_f038;

let made = 0;

/** One network namespace, with interfaces that a test makes. */
export class Namespace {
  readonly name: string = `dvk${process.pid}-${made++}`;
  /** What runs a program in it, with the mounts of this machine. */
  readonly runner: readonly string[] = ['nsenter', `--net=/run/netns/${this.name}`];

  constructor() {
    run('ip', 'netns', 'add', this.name);
  }

  ip(command: string): void {
    run(...inNamespace(this.name), 'ip', ...command.split(' '));
  }

  /** The Ethernet address of an interface. */
  mac(name: string): string {
    return within(this.name, () => formatMac(ethernetInterface(name).address));
  }

  remove(): void {
    run('ip', 'netns', 'delete', this.name);
  }
}

/**
 * Waits until the kernel sends through a namespace's `v0`. It begins to a while after both ends are
 * set up, and before that drops what is sent and reports no error: net/sched/sch_generic.c,
 * `noop_qdisc`.
 */
function untilUp(namespace: string): void {
  const show = [...inNamespace(namespace).slice(1), ...'ip -json link show dev v0'.split(' ')];
  const end = Date.now() + 30_000;
  for (;;) {
    const [found] = JSON.parse(execFileSync('ip', show, { encoding: 'utf8' })) as {
      operstate: string;
    }[];
    if (found?.operstate === 'UP') return;
    if (Date.now() > end) throw new Error(`v0 of ${namespace} stays ${found?.operstate ?? 'away'}`);
  }
}

export class NamespacePair {
  readonly names: readonly [string, string];
  readonly addresses = ['10.213.7.1', '10.213.7.2'] as const;

  constructor() {
    const name = `dvk${process.pid}-${made++}`;
    this.names = [`${name}a`, `${name}b`];
    const [a, b] = this.names;
    try {
      run('ip', 'netns', 'add', a);
      run('ip', 'netns', 'add', b);
      this.lay();
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Lays the cable, also after an end was deleted, and waits until it carries. */
  lay(): void {
    const [a, b] = this.names;
    run(...'ip link add v0 netns'.split(' '), a, ...'type veth peer name v0 netns'.split(' '), b);
    for (const end of [0, 1] as const) {
      this.ip(end, `address add ${this.addresses[end]}/24 dev v0`);
      this.ip(end, 'link set lo up');
      this.ip(end, 'link set v0 up');
    }
    for (const namespace of this.names) untilUp(namespace);
  }

  /** Has `ip` do something at one end. */
  ip(end: 0 | 1, command: string): void {
    run(...inNamespace(this.names[end]), 'ip', ...command.split(' '));
  }

  /** Drops that many of a hundred packets that come in, at both ends or at one. */
  lose(percent: number, end?: 0 | 1): void {
    // Classic BPF: load a random word; above the limit pass (0), else drop (2, TC_ACT_SHOT).
    const limit = Math.round((percent / 100) * 0xffff_ffff);
    const names = end === undefined ? this.names : [this.names[end]];
    this.#filter(`4,32 0 0 ${RANDOM_WORD},37 1 0 ${limit},6 0 0 2,6 0 0 0`, names);
  }

  /** Drops every packet of TCP that comes in, at both ends; `lose(0)` ends that. */
  dropTcp(): void {
    // The byte of the IPv4 header that tells the protocol: 6 is dropped, others pass.
    this.#filter('4,48 0 0 23,21 0 1 6,6 0 0 2,6 0 0 0');
  }

  #filter(program: string, names: readonly string[] = this.names): void {
    for (const namespace of names) {
      const tc = [...inNamespace(namespace), 'tc'];
      run(...tc, ...'qdisc replace dev v0 clsact'.split(' '));
      run(
        ...tc,
        ...'filter replace dev v0 ingress pref 1 handle 1 bpf da'.split(' '),
        'bytecode',
        program,
      );
    }
  }

  /** What one end sends is limited to so many Mbit/s. */
  limit(end: 0 | 1, megabits: number): void {
    const rate = `tc qdisc replace dev v0 root tbf rate ${megabits}mbit burst 32k latency 30ms`;
    run(...inNamespace(this.names[end]), ...rate.split(' '));
  }

  /** The Ethernet address of one end. */
  mac(end: 0 | 1): string {
    return within(this.names[end], () => formatMac(ethernetInterface('v0').address));
  }

  /** Pulls the cable, or plugs it in again. */
  plug(state: 'up' | 'down'): void {
    run(...inNamespace(this.names[1]), 'ip', 'link', 'set', 'v0', state);
  }

  setMtu(bytes: number): void {
    for (const namespace of this.names) {
      run(...inNamespace(namespace), 'ip', 'link', 'set', 'v0', 'mtu', String(bytes));
    }
  }

  remove(): void {
    for (const namespace of this.names) {
      try {
        run('ip', 'netns', 'delete', namespace);
      } catch {
        // It was not made.
      }
    }
  }
}

/** Why there can be no namespaces here, or undefined. */
export function whyNoNamespaces(): string | undefined {
  try {
    const pair = new NamespacePair();
    try {
      pair.lose(1);
    } finally {
      pair.remove();
    }
    return undefined;
  } catch (error) {
    const [reason] = String((error as { stderr?: unknown }).stderr ?? error).split('\n');
    return `needs network namespaces, as root, and tc: ${reason ?? ''}`;
  }
}

/** Why there can be no packet sockets here, or undefined. */
export function whyNoPackets(): string | undefined {
  try {
    const place = { interface: 'lo', etherType: DEFAULT_ETHER_TYPE, port: 0 };
    new PacketSocket({ ...place, bufferBytes: 0, payloadBytesMax: 0 }).close();
    return undefined;
  } catch (error) {
    return `needs packet sockets, as root: ${String(error)}`;
  }
}
