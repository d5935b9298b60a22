/**
 * How often a host may begin a handshake: a bucket of tokens for each, so that one that opens
 * connections without end costs no more than its share. Only addresses that have answered a cookie
 * come here.
 */

/** Handshakes of one host: so many at once, and so many a second after that. */
const BURST = 64;
const EACH_SECOND = 20;
// Hosts remembered; the one that was quiet longest is forgotten first.
const HOSTS_MAX = 1024;

interface Bucket {
  tokens: number;
  filledMs: number;
}

export class Admission {
  readonly #buckets = new Map<string, Bucket>();

  /** Whether `host` may begin one more now. */
  allows(host: string, nowMs: number): boolean {
    const before = this.#buckets.get(host);
    const gained = before ? ((nowMs - before.filledMs) / 1000) * EACH_SECOND : 0;
    const tokens = before ? Math.min(BURST, before.tokens + gained) : BURST;
    const isAllowed = tokens >= 1;
    this.#buckets.delete(host);
    this.#buckets.set(host, { tokens: isAllowed ? tokens - 1 : tokens, filledMs: nowMs });
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= HOSTS_MAX) break;
      this.#buckets.delete(oldest);
    }
    return isAllowed;
  }
}
