// Whatever the network does, a connection over datagrams delivers everything once and in order, or
// ends visibly; it holds no more than its windows, and goes on when the network is well again.
// Method: a thousand short runs on a simulated network whose faults follow from the seed: loss,
// copies, delay, reordering, damage, cuts in one direction or both, narrow paths, hosts that stand
// still and clocks that jump. Every other run is sealed, and takes new keys all the time. Rows 12
// to 17, 21 and 22 of the fault matrix; 14 to 17 also one by one, as they stand there.
import { describe, expect, it } from 'vitest';
import { TestAuthority } from '../support/certificates.ts';
import { NO_FAULTS, SimulatedNetwork, type SimulatedHost } from '../support/datagram-network.ts';
import { TrafficEnd } from '../support/datagram-traffic.ts';

const SEEDS = 1000;
const FIRST_SEED = 1;
const FAULTS_MS = 2500;
const WINDOW_BYTES_MAX = 256 * 1024;
// Short, so that some cuts outlast a connection.
const SETTINGS = { windowBytesMax: WINDOW_BYTES_MAX, keepaliveMs: 300, deadMs: 1200 };

const authority = new TestAuthority();
const credentials = [authority.credentials(0), authority.credentials(1)] as const;

const wanted = process.env['DVK_SEED'];
const seeds =
  wanted === undefined
    ? Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i)
    : [Number.parseInt(wanted, 10)];

/** One run. */
class Run {
  readonly network: SimulatedNetwork;
  readonly a: SimulatedHost;
  readonly b: SimulatedHost;
  readonly #random: () => number;
  dialer!: TrafficEnd;
  accepter: TrafficEnd | undefined;
  accepted = 0;
  readonly isSealed: boolean;

  constructor(seed: number) {
    this.network = new SimulatedNetwork(seed);
    this.#random = this.network.random;
    this.isSealed = seed % 2 === 1;
    const options = { ...SETTINGS, rekeyPackets: this.#pick(5, 30), rekeyMs: this.#pick(50, 5000) };
    const [a, b] = this.isSealed ? credentials : [];
    this.a = this.network.host('a', { ...options, credentials: a });
    this.b = this.network.host('b', { ...options, credentials: b });
    this.listen();
  }

  listen(): void {
    this.b.endpoint.listen(() => {
      this.accepted++;
      this.accepter = new TrafficEnd('accepter', { own: 20, peer: 10 }, this.#pick(1, 5000));
      return this.accepter;
    });
  }

  /** A process dies and comes back, and knows nothing of what was. */
  restart(): void {
    if (this.#chance(0.5)) {
      this.a.restart();
      this.dialer.closedWith = 'died';
    } else {
      this.b.restart();
      this.accepter = undefined;
      this.listen();
    }
  }

  #pick(least: number, most: number): number {
    return least + Math.floor(this.#random() * (most - least + 1));
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }

  dial(): void {
    this.accepter = undefined;
    this.dialer = new TrafficEnd('dialer', { own: 10, peer: 20 }, this.#pick(1, 5000));
    this.a.endpoint.dial('b', this.dialer, this.a.nowMs);
  }

  /** The faults of this run; about half of the kinds are in use in each. */
  disturb(): void {
    const some = (most: number): number => (this.#chance(0.5) ? most * this.#random() : 0);
    this.network.faults = {
      loss: some(0.3),
      duplicate: some(0.3),
      damage: some(0.1),
      truncate: some(0.05),
      delayMs: some(30),
      jitterMs: some(60),
      mtu: [1200, 1300, 1472, 9000][this.#pick(0, 3)] ?? 1472,
    };
  }

  /** Something happens for a while. */
  incident(): void {
    const { cuts } = this.network;
    const host = this.#chance(0.5) ? this.a : this.b;
    switch (this.#pick(0, 7)) {
      case 0:
        cuts.add('a>b').add('b>a');
        break;
      case 1:
        cuts.add(this.#chance(0.5) ? 'a>b' : 'b>a');
        break;
      case 2:
        host.frozenUntilMs = this.network.nowMs + this.#pick(1, 1500);
        break;
      case 3:
        host.clockMs += (this.#chance(0.5) ? 1 : -1) * 3_600_000;
        break;
      case 4:
        this.network.faults = { ...this.network.faults, mtu: 1200 };
        break;
      case 5:
        if (this.#chance(0.1)) this.restart();
        break;
      default:
        cuts.clear();
    }
  }

  traffic(): void {
    for (const end of [this.dialer, this.accepter]) {
      if (end?.connection === undefined || end.closedWith !== undefined) continue;
      if (this.#chance(0.7)) end.write(0, this.#pick(0, 400));
      if (this.#chance(0.3)) end.write(1, this.#pick(0, 20_000));
    }
  }

  get held(): number {
    return Math.max(this.a.endpoint.heldBytes, this.b.endpoint.heldBytes);
  }

  heal(): void {
    this.network.cuts.clear();
    this.network.faults = NO_FAULTS;
    this.a.frozenUntilMs = this.b.frozenUntilMs = this.network.nowMs;
    // Nothing bulky is taken before something urgent.
    for (const end of [this.dialer, this.accepter]) {
      if (end?.connection && end.closedWith === undefined) end.write(0, 1);
    }
  }

  get isOver(): boolean {
    const isClosed = this.accepter === undefined || this.accepter.closedWith !== undefined;
    return this.dialer.closedWith !== undefined && isClosed;
  }

  get isDelivered(): boolean {
    const { dialer, accepter } = this;
    if (!accepter?.connection || !dialer.connection) return false;
    if (dialer.closedWith !== undefined || accepter.closedWith !== undefined) return false;
    return dialer.has(accepter) && accepter.has(dialer);
  }
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

function simulate(seed: number): Run {
  const run = new Run(seed);
  const { network } = run;
  run.dial();
  if (seed % 4 !== 0) run.disturb();

  for (const endMs = network.nowMs + FAULTS_MS; network.nowMs < endMs;) {
    network.run(20 + 200 * network.random());
    if (network.random() < 0.25) run.incident();
    run.traffic();
    check(run.held <= 4 * WINDOW_BYTES_MAX, `${run.held} bytes are held`);
  }
  run.heal();
  check(
    network.run(20_000, () => run.isDelivered || run.isOver),
    'no progress on a good network',
  );

  if (run.isOver) {
    run.dial();
    check(
      network.run(5000, () => run.accepter?.connection !== undefined),
      'no new connection on a good network',
    );
  }
  // On the good network, with one connection: everything arrives, and what is known of the path is
  // right.
  for (let i = 0; i < 40; i++) {
    run.dialer.write(0, 100);
    run.accepter?.write(0, 10);
    run.accepter?.write(1, 1000);
    network.run(20);
  }
  check(
    network.run(10_000, () => run.isDelivered),
    'not everything was delivered',
  );
  network.run(1000);
  for (const end of [run.dialer, run.accepter]) {
    const rttMs = end?.connection?.quality?.rttMs ?? -1;
    check(rttMs >= 1.9 && rttMs < 60, `the RTT of 2 ms was taken for ${rttMs} ms`);
    check(end?.connection?.bufferedBytes === 0, 'bytes that arrived are held');
    check(end?.done === end?.writes, 'a buffer was not given back');
    const isRekeyed = (end?.connection?.quality?.rekeys ?? 0) > 0;
    check(isRekeyed === run.isSealed, 'keys were not renewed');
  }
  const peers = [run.dialer, run.accepter].map((end) => end?.connection?.peer?.node);
  const proven = run.isSealed ? [1, 0] : [undefined, undefined];
  check(peers.join() === proven.join(), `the peers are taken for ${peers.join()}`);

  run.dialer.connection?.end();
  check(
    network.run(5000, () => run.isOver),
    'an orderly end did not reach both sides',
  );
  network.run(10_000);
  check(run.a.endpoint.size + run.b.endpoint.size === 0, 'a connection is left over');
  check(run.b.endpoint.waitMs(run.b.nowMs) === Infinity, 'a timer is left over');
  return run;
}

describe('connections over a hostile network', () => {
  it('do the same again with the same seed, sealed or not', () => {
    for (const seed of [5, 6, 7]) {
      expect(simulate(seed).network.counters).toEqual(simulate(seed).network.counters);
    }
  });

  it.each([
    ['row 14: 5 % lost', { loss: 0.05 }],
    ['row 14: 20 % lost', { loss: 0.2 }],
    ['row 15: 30 % doubled', { duplicate: 0.3 }],
    ['row 16: another order, for it takes 100 +- 50 ms', { delayMs: 50, jitterMs: 100 }],
    ['row 17: 5 % damaged', { damage: 0.05 }],
  ])('deliver everything over the first connection with %s', (_, faults) => {
    for (let seed = 1; seed <= 4; seed++) {
      const run = new Run(seed);
      run.network.faults = { ...NO_FAULTS, ...faults };
      run.dial();
      for (let round = 0; round < 40; round++) {
        run.network.run(50);
        run.traffic();
      }

      const isDelivered = run.network.run(60_000, () => run.isDelivered);

      expect([seed, isDelivered, run.accepted]).toEqual([seed, true, 1]);
    }
  });

  it(`deliver once and in order, or end visibly, with ${seeds.length} seeds`, () => {
    let reconnected = 0;
    for (const seed of seeds) {
      try {
        if (simulate(seed).accepted > 1) reconnected++;
      } catch (error) {
        const command = `DVK_SEED=${seed} npm test -- datagram-network`;
        throw new Error(`seed ${seed}: ${String(error)}; again by: ${command}`, { cause: error });
      }
    }

    // The faults are hard enough that some connections end, and not so hard that nearly all do.
    if (wanted !== undefined) return;
    expect(reconnected).toBeGreaterThan(seeds.length / 100);
    expect(reconnected).toBeLessThan((3 * seeds.length) / 4);
  });
});
