// What servers and mounts have counted: by COUNTERS, and as Prometheus reads it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fsExposition } from '../../../src/cli/fs-info.ts';
import { ERRNO } from '../../../src/servers/fs/errors.ts';
import type { Volume } from '../../../src/servers/fs/ext4/volume.ts';
import { createHandlers } from '../../../src/servers/fs/handlers.ts';
import {
  COUNTERS_BYTES,
  FS_COUNTERS,
  type FsCounterName,
  type FsCounters,
  decodeCounters,
} from '../../../src/vos/protocol/fs-counters.ts';
import { MOUNT_COUNTERS } from '../../../src/vos/fuse/mount-counters.ts';
import { FsCall, encodeRequest } from '../../../src/vos/protocol/fs.ts';
import { parseSpec } from '../../../src/vos/spec.ts';

const NAMES = Object.keys(FS_COUNTERS) as FsCounterName[];
const counters = Object.fromEntries(
  NAMES.map((name, index) => [name, 2 ** 40 + index]),
) as FsCounters;
/** COUNTERS asks nothing of the volume. */
const volume = Object.create(null) as Volume;

describe('COUNTERS', () => {
  const memory = new Uint8Array(COUNTERS_BYTES);
  const stage = new Uint8Array(1024);
  const clients = {
    stage: (bytes: number): Uint8Array => stage.subarray(0, bytes),
    copyIn: (): never => expect.unreachable(),
    copyOut: (_: number, __: number, ___: number, data: Uint8Array): void => {
      memory.set(data);
    },
  };
  const serve = createHandlers(volume, clients, () => counters).get(FsCall.COUNTERS);

  function ask(grantBytes: number, offset = 0): number {
    const request = new DataView(new ArrayBuffer(64));
    const rest = { inode: 0, generation: 0, offset, grant: 3, nameBytes: 0 };
    encodeRequest(request, { call: FsCall.COUNTERS, grantBytes, ...rest });
    return serve?.(request, request) ?? -1;
  }

  it('tells all that there is room for', () => {
    expect(ask(1 << 20)).toBe(COUNTERS_BYTES);
    expect(decodeCounters(memory)).toEqual(counters);
    expect(ask(17)).toBe(16);
    expect(ask(7)).toBe(0);
    expect(ask(COUNTERS_BYTES, 1)).toBe(-ERRNO.EBADREQUEST);
  });

  it('is read as far as it is known', () => {
    expect(ask(1 << 20)).toBe(COUNTERS_BYTES);
    const [first = 'leases', second = 'leases', ...others] = NAMES;
    const some = decodeCounters(memory.subarray(0, 20));
    expect(some).toEqual({ [first]: counters[first], [second]: counters[second] });
    expect(others.every((name) => some[name] === undefined)).toBe(true);
    const more = new Uint8Array(COUNTERS_BYTES + 16);
    more.set(memory);
    expect(decodeCounters(more)).toEqual(counters);
  });
});

describe('the exposition', () => {
  const spec = parseSpec(
    [
      'dvs: lab',
      'nodes: [{ id: 0 }, { id: 1 }]',
      'containers:',
      '  - name: mol',
      '    services:',
      '      - { name: fs, kind: fs, node: 1, slot: 1, image: a }',
      '      - { name: here, kind: fuse, node: 0, server: fs, mount: /m }',
    ].join('\n'),
    { file: 'x', directory: '/' },
  );
  const all = spec.containers.flatMap((container) =>
    container.services.map((service) => ({ container, service })),
  );
  const ofMount = Object.fromEntries(Object.keys(MOUNT_COUNTERS).map((name, i) => [name, 70 + i]));

  it('says who, and has the names of docs/operation.md and no others', () => {
    const text = fsExposition(
      spec.dvs,
      all.map((one) => ({ ...one, counters: one.service.kind === 'fs' ? counters : ofMount })),
    );
    const at = 'dvs="lab",dc="mol",service="fs",node="1"';
    expect(text).toContain(`\ndvk_fs_leases_granted_total{${at}} ${String(2 ** 40 + 2)}\n`);
    expect(text).toContain(`\ndvk_fs_leases{${at}} ${String(2 ** 40)}\n`);
    const mount = 'dvs="lab",dc="mol",service="here",node="0"';
    expect(text).toContain(
      `\ndvk_mount_io_errors_total{${mount}} ${String(ofMount['ioErrors'])}\n`,
    );
    expect(text).toContain(`\ndvk_mount_outstanding{${mount}} ${String(ofMount['outstanding'])}\n`);
    const known = [...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name);
    const page = readFileSync(join(import.meta.dirname, '../../../docs/operation.md'), 'utf8');
    const listed = [...page.matchAll(/^\| `(dvk_(?:fs|mount)_\w+)`/gm)].map(([, name]) => name);
    expect(listed.sort()).toEqual(known.sort());
  });

  it('says of what does not answer only that', () => {
    const down = all.map((one) => ({ ...one, counters: undefined }));
    const samples = fsExposition(spec.dvs, down).match(/^dvk.*$/gm);
    expect(samples).toEqual([
      'dvk_fs_up{dvs="lab",dc="mol",service="fs",node="1"} 0',
      'dvk_mount_up{dvs="lab",dc="mol",service="here",node="0"} 0',
    ]);
  });
});
