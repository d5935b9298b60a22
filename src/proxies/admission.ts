/**
 * How often a host may begin a sealed handshake: a bucket of tokens for each, so that one that
 * begins them without end costs no more than its share. Only addresses that are real come here: of
 * datagrams those that have answered a cookie, of TCP all.
 */

/** Handshakes of one host: so many at once, and so many a second after that. */
export interface AdmissionLimits {
  handshakeBurst: number;
  handshakesPerSecond: number;
}

// As WireGuard has it; the burst is for nodes that share a host.
const DEFAULT_LIMITS: AdmissionLimits = { handshakeBurst: 64, handshakesPerSecond: 20 };
// Hosts remembered; the one that was quiet longest is forgotten first.
const HOSTS_MAX = 1024;

/** Tokens that are spent one by one and come back with time. */
export class TokenBucket {
  #tokens: number;
  #filledMs: number;

  /** Begins full. */
  constructor(burst: number, nowMs: number) {
    this.#tokens = burst;
    this.#filledMs = nowMs;
  }

  /** Takes a token; false when there is none. Limits may change from call to call. */
  take(limits: { burst: number; perSecond: number }, nowMs: number): boolean {
    const gained = (Math.max(0, nowMs - this.#filledMs) / 1000) * limits.perSecond;
    const tokens = Math.min(limits.burst, this.#tokens + gained);
    const isAllowed = tokens >= 1;
    this.#tokens = isAllowed ? tokens - 1 : tokens;
    this.#filledMs = nowMs;
    return isAllowed;
  }
}

/** All hosts of an IPv6 network of 64 bits count as one, since whoever has one has all. */
function sourceOf(host: string): string {
  if (!host.includes(':') || host.includes('.')) return host.slice(host.lastIndexOf(':') + 1);
  const [head = '', tail] = host.replace(/^\[|\]$|%.*/g, '').split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array<string>(zeros).fill('0'), ...after];
  return groups.slice(0, 4).join(':');
}

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #buckets = new Map<string, TokenBucket>();

  /** The limits are looked up at each use. */
  constructor(limits: AdmissionLimits = DEFAULT_LIMITS) {
    this.#limits = limits;
  }

  /** Whether `host`, an address in numbers, may begin one more now. */
  allows(host: string, nowMs: number): boolean {
    const { handshakeBurst: burst, handshakesPerSecond: perSecond } = this.#limits;
    const source = sourceOf(host);
    const bucket = this.#buckets.get(source) ?? new TokenBucket(burst, nowMs);
    this.#buckets.delete(source);
    this.#buckets.set(source, bucket);
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= HOSTS_MAX) break;
      this.#buckets.delete(oldest);
    }
    return bucket.take({ burst, perSecond }, nowMs);
  }
}
