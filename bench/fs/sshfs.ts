/** sshfs as users have it: a directory of this host through an sshd on loopback, by keys. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { findProgram, type Setting } from './image.ts';
import { freePort, startMount, startServer, type Mounted } from './mounts.ts';

// Where sshd locks its unprivileged half up; it comes with no other use.
const EMPTY = '/run/sshd';
const run = promisify(execFile);

async function makeKey(path: string): Promise<string> {
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path]);
  return path;
}

/** Returns undefined when sshd or sshfs is not installed. */
export async function mountSshfs(
  source: string,
  { directory, note, cleanup }: Setting,
): Promise<Mounted | undefined> {
  const [server, client] = [findProgram('sshd'), findProgram('sshfs')];
  if (server === undefined || client === undefined) {
    note('no sshfs: install sshfs and openssh-server');
    return undefined;
  }
  const place = join(directory, 'ssh');
  mkdirSync(place, { mode: 0o700 });
  if (process.getuid?.() === 0) mkdirSync(EMPTY, { recursive: true, mode: 0o755 });
  const hostKey = await makeKey(join(place, 'host'));
  const userKey = await makeKey(join(place, 'user'));
  const port = String(await freePort());
  const config = join(place, 'sshd_config');
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${userKey}.pub`,
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    // The bench's directory may lie below one that others can write, as /tmp is.
    'StrictModes no',
    'UsePAM no',
    'PidFile none',
    'Subsystem sftp internal-sftp',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  await startServer({ program: server, options: ['-D', '-f', config] }, Number(port), cleanup);
  const mountpoint = join(directory, 'sshfs-mnt');
  const ssh = [
    ...[`IdentityFile=${userKey}`, `UserKnownHostsFile=${join(place, 'known_hosts')}`],
    ...['StrictHostKeyChecking=no', 'IdentitiesOnly=yes', 'BatchMode=yes'],
  ];
  const options = [
    `${userInfo().username}@127.0.0.1:${source}`,
    ...[mountpoint, '-f', '-p', port],
    ...ssh.flatMap((option) => ['-o', option]),
  ];
  return startMount({ program: client, options, mountpoint }, cleanup);
}
