/**
 * GlusterFS with a single brick over loopback: its brick process and its FUSE client, with the
 * translators that a new volume has for locks, threads and caching. Their files are written here,
 * so that no management daemon is needed.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { findProgram, type Setting } from './image.ts';
import { freePort, startMount, startServer, type Mounted } from './mounts.ts';

/** A translator above the one before it. */
type Translator = readonly [name: string, type: string, options?: Readonly<Record<string, string>>];

function volumeFile(stack: readonly Translator[]): string {
  return stack
    .map(([name, type, options = {}], i) => {
      const below = stack[i - 1];
      return [
        `volume ${name}`,
        `  type ${type}`,
        ...Object.entries(options).map(([option, value]) => `  option ${option} ${value}`),
        ...(below === undefined ? [] : [`  subvolumes ${below[0]}`]),
        'end-volume',
        '',
      ].join('\n');
    })
    .join('\n');
}

/** Returns undefined when GlusterFS is not installed, or the user not root. */
export async function mountGluster(
  source: string,
  { directory, note, cleanup }: Setting,
): Promise<Mounted | undefined> {
  const [server, client] = [findProgram('glusterfsd'), findProgram('glusterfs')];
  if (server === undefined || client === undefined || process.getuid?.() !== 0) {
    note('no glusterfs: install glusterfs-server, and run as root');
    return undefined;
  }
  const place = join(directory, 'gluster');
  mkdirSync(place);
  const port = await freePort();
  const file = (name: string): string => join(place, name);
  const tcp = { 'transport-type': 'tcp' };
  writeFileSync(
    file('server.vol'),
    volumeFile([
      ['posix', 'storage/posix', { directory: source }],
      ['locks', 'features/locks'],
      ['brick', 'performance/io-threads'],
      [
        'server',
        'protocol/server',
        {
          ...tcp,
          'transport.socket.bind-address': '127.0.0.1',
          'transport.socket.listen-port': String(port),
          'auth.addr.brick.allow': '127.0.0.1',
        },
      ],
    ]),
  );
  writeFileSync(
    file('client.vol'),
    volumeFile([
      [
        'remote',
        'protocol/client',
        {
          ...tcp,
          'remote-host': '127.0.0.1',
          'remote-port': String(port),
          'remote-subvolume': 'brick',
        },
      ],
      ['write-behind', 'performance/write-behind'],
      ['read-ahead', 'performance/read-ahead'],
      ['io-cache', 'performance/io-cache'],
      ['md-cache', 'performance/md-cache'],
    ]),
  );
  const log = (name: string): string[] => [
    '-N',
    '-f',
    file(`${name}.vol`),
    '-l',
    file(`${name}.log`),
  ];
  const brick = { program: server, options: [...log('server'), '-p', file('server.pid')] };
  await startServer(brick, port, cleanup);
  const mountpoint = join(directory, 'glusterfs-mnt');
  return startMount(
    { program: client, options: [...log('client'), mountpoint], mountpoint },
    cleanup,
  );
}
