/**
 * Where the quota of a volume comes from: what was set while the server runs, or ran before, else
 * what the spec says. `dvk fs quota set` replaces the file and wakes the server.
 */
import { readFileSync, statSync } from 'node:fs';

import { type QuotaLimits, parseQuotaFile } from '../../vos/protocol/fs-quota.ts';
import type { Volume } from './ext4/volume.ts';

export class QuotaSource {
  readonly #volume: Pick<Volume, 'setQuota'>;
  readonly #path: string;
  readonly #limits: QuotaLimits;
  /** Which file was read last; it is replaced as a whole. */
  #seen = '';

  /** `limits` hold when there is no file. */
  constructor(volume: Pick<Volume, 'setQuota'>, path: string, limits: QuotaLimits = {}) {
    this.#volume = volume;
    this.#path = path;
    this.#limits = limits;
    volume.setQuota(limits);
    this.look();
  }

  /** Takes over what was set since. A file that cannot be read changes nothing. */
  look(): void {
    const status = statSync(this.#path, { throwIfNoEntry: false });
    const file = status === undefined ? '' : `${String(status.ino)} ${String(status.mtimeMs)}`;
    if (file === this.#seen) return;
    const limits = file === '' ? this.#limits : this.#read();
    if (limits === undefined) return;
    this.#seen = file;
    this.#volume.setQuota(limits);
  }

  #read(): QuotaLimits | undefined {
    try {
      return parseQuotaFile(readFileSync(this.#path, 'utf8'));
    } catch {
      return undefined;
    }
  }
}
