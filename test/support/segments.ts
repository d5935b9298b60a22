/** Segments for tests: in a folder of their own below /dev/shm, and gone afterwards. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { dcId, nodeId, Segment, type CreateOptions } from '../../src/dvk/index.ts';

const ARENA_BYTES = 1 << 22;

export class TestSegment {
  readonly directory: string;
  readonly path: string;
  readonly segment: Segment;

  /** Creates and opens a segment of node 0 in DC 0. */
  constructor(options: Partial<CreateOptions> = {}) {
    this.directory = mkdtempSync('/dev/shm/dvk-test-');
    this.path = join(this.directory, 'dc0');
    Segment.create(this.path, {
      dcId: dcId(0),
      nodeId: nodeId(0),
      dcName: 'dc0',
      dvsName: 'test',
      processes: 256,
      nodes: 4,
      arenaBytes: ARENA_BYTES,
      ...options,
    });
    this.segment = Segment.open(this.path);
  }

  /** Names of the wake FIFOs that exist now. */
  fifos(): string[] {
    return readdirSync(join(this.directory, 'wake'));
  }

  remove(): void {
    this.segment.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
