/** `dvk doctor`: whether this machine has what dvk needs, and what to do when it has not. */
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';
import { arch, endianness, release, totalmem } from 'node:os';
import { dirname } from 'node:path';

import type { Command } from 'commander';

import { isDvkError } from '../dvk/errors.ts';
import { DEFAULT_ETHER_TYPE } from '../dvk/ethernet.ts';
import { PacketSocket } from '../dvk/packet-socket.ts';
import { canLend, processStartTime } from '../dvk/system.ts';
import { formatSize } from '../vos/spec-reader.ts';
import { withRuntime, type Selection } from './options.ts';
import { ExitCode, output, type Cell } from './output.ts';
import { findProgram } from './programs.ts';
import { DvsPaths, findRuntime, listDvs, readState } from './runtime.ts';

/** `warn`: something works less well, or not for everybody. */
type Verdict = 'ok' | 'warn' | 'fail';

export interface Check {
  readonly name: string;
  readonly verdict: Verdict;
  readonly found: string;
  readonly remedy: string | null;
}

const RUNTIME_BYTES_MIN = 64 * 2 ** 20;
const FILES_MIN = 1024;

export function register(program: Command): void {
  withRuntime(program.command('doctor'))
    .option('--json', 'one JSON document instead of text')
    .description('check whether this machine has what dvk needs')
    .action(doctor);
}

function doctor(selection: Selection): void {
  const checks = examine(selection.runtime);
  const ok = checks.every(({ verdict }) => verdict !== 'fail');
  if (!ok) process.exitCode = ExitCode.FAILURE;
  if (selection.json === true) {
    output.json({ ok, items: checks });
    return;
  }
  const styles = { ok: 'green', warn: 'yellow', fail: 'red' } as const;
  output.table(
    ['CHECK', 'VERDICT', 'FOUND'],
    checks.map(({ name, verdict, found }): Cell[] => [name, [verdict, styles[verdict]], found]),
  );
  const remedies = checks.filter(({ remedy }) => remedy !== null);
  if (remedies.length > 0) output.line();
  for (const { name, remedy } of remedies) output.line(`${name}: ${remedy ?? ''}`);
}

/** Every check, in the order in which a missing thing is met. */
export function examine(runtime: string | undefined): Check[] {
  return [
    checkKernel(),
    checkNode(),
    checkAddon(),
    checkRuntime(runtime),
    checkLinks(runtime),
    checkEthernet(),
    checkFuse(),
    checkProgram('fusermount3', 'fuse3', 'an ordinary user cannot mount'),
    checkProgram('mke2fs', 'e2fsprogs', 'the demo cannot make its image'),
    checkProgram('flock', 'util-linux', 'commands cannot lock the DVS that they change'),
    checkCopies(),
    checkPtrace(),
    checkFiles(),
  ];
}

function check(name: string, verdict: Verdict, found: string, remedy: string | null = null): Check {
  return { name, verdict, found, remedy };
}

function checkKernel(): Check {
  const found = `Linux ${release()}, ${arch()}`;
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (endianness() !== 'LE') return check('kernel', 'fail', found, 'Use a little-endian machine.');
  // pidfd_open, by which the death of processes is noticed, came with 5.3.
  if (major > 5 || (major === 5 && minor >= 3)) return check('kernel', 'ok', found);
  return check('kernel', 'fail', found, 'Use Linux 5.3 or newer.');
}

function checkNode(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 3))
    return check('node', 'ok', `Node.js ${process.version}`);
  return check('node', 'fail', `Node.js ${process.version}`, 'Use Node.js 20.3 or newer.');
}

function checkAddon(): Check {
  try {
    processStartTime(process.pid);
    return check('native addon', 'ok', 'built');
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return check('native addon', 'fail', found, 'Build it: npm run build');
  }
}

function checkRuntime(option: string | undefined): Check {
  const name = 'runtime directory';
  try {
    const { directory, note } = findRuntime(option);
    const free = freeBytes(directory);
    const why = note === undefined ? '' : `; ${note}`;
    const found = `${directory}, in memory, ${formatSize(free)} free${why}`;
    if (free >= RUNTIME_BYTES_MIN) return check(name, 'ok', found);
    return check(name, 'warn', found, 'Enlarge it: mount -o remount,size=1G, or use --runtime.');
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return check(name, 'fail', found, 'Use a directory on a tmpfs: --runtime /dev/shm/NAME');
  }
}

function checkLinks(option: string | undefined): Check {
  const name = 'links';
  let directory: string;
  try {
    ({ directory } = findRuntime(option));
  } catch {
    return check(name, 'ok', 'no DVS can run');
  }
  const insecure = listDvs(directory).filter(
    (dvs) => readState(new DvsPaths(directory, dvs))?.security.mode === 'insecure',
  );
  if (insecure.length === 0) return check(name, 'ok', 'sealed, or none');
  const found = `INSECURE, in plain text: DVS ${insecure.join(', ')}`;
  return check(name, 'warn', found, 'Bring it up without --insecure.');
}

// A socket of the loopback device needs all that one of another interface does.
function checkEthernet(): Check {
  const name = 'raw Ethernet';
  try {
    const place = { interface: 'lo', etherType: DEFAULT_ETHER_TYPE, port: 0 };
    new PacketSocket({ ...place, bufferBytes: 0, payloadBytesMax: 0 }).close();
    return check(name, 'ok', 'links over Ethernet work');
  } catch (error) {
    if (isDvkError(error, 'EPERM')) {
      const found = 'no CAP_NET_RAW: links over Ethernet do not work, others do';
      return check(name, 'warn', found, 'Run dvk as root, or give the nodes CAP_NET_RAW.');
    }
    const found = error instanceof Error ? error.message : String(error);
    return check(name, 'warn', found, 'Use tcp or udp, or a kernel with packet sockets.');
  }
}

function freeBytes(directory: string): number {
  for (let place = directory; ; place = dirname(place)) {
    try {
      const { bavail, bsize } = statfsSync(place);
      return Math.min(bavail * bsize, totalmem());
    } catch {
      if (place === dirname(place)) return 0;
    }
  }
}

function checkFuse(): Check {
  try {
    accessSync('/dev/fuse', constants.F_OK);
  } catch {
    return check('/dev/fuse', 'fail', 'missing', 'Load the module: modprobe fuse');
  }
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return check('/dev/fuse', 'ok', 'usable');
  } catch {
    // fusermount3 is set-uid, but opens the device with the user's rights.
    const found = 'only root may open it, so an ordinary user cannot mount';
    return check('/dev/fuse', 'warn', found, 'Give every user access to it: chmod 0666 /dev/fuse');
  }
}

function checkProgram(program: string, debianPackage: string, why: string): Check {
  const path = findProgram(program);
  if (path !== undefined) return check(program, 'ok', path);
  return check(program, 'warn', `missing: ${why}`, `Install it: apt install ${debianPackage}`);
}

function checkCopies(): Check {
  const name = 'private copies';
  if (canLend())
    return check(name, 'ok', 'a process that waits takes part in copies of its memory');
  const found = 'the system alone copies private memory where it may, which is slower';
  const remedy = 'Use Linux 6.11 or newer, or keep data that is copied in the arena.';
  return check(name, 'warn', found, remedy);
}

function checkPtrace(): Check {
  let scope = '';
  try {
    scope = readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8').trim();
  } catch {
    // A kernel without Yama.
  }
  return ptraceCheck(scope, process.getuid?.() === 0);
}

/**
 * Yama decides whether process_vm_readv may read another process of the same user. Where it may
 * not, the owner of the memory has to come into a call; see docs/decisions/0027-untraced-copies.md.
 * `scope` is that of the kernel, '' without Yama.
 */
export function ptraceCheck(scope: string, isRoot: boolean): Check {
  const name = 'ptrace_scope';
  const yama = scope === '' ? 'no Yama' : `Yama ${scope}`;
  if (scope === '' || scope === '0' || (isRoot && scope !== '3')) {
    return check(name, 'ok', `${yama}: every copy between processes of one user works`);
  }
  const works = 'copies of the arena, and of private memory whose owner waits or soon will';
  const found = `${yama}: ${works}, work; of a busy owner's private memory they fail with EPERM`;
  return check(name, 'ok', found);
}

function checkFiles(): Check {
  const name = 'open files';
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1] ?? '0';
  const enough = soft === 'unlimited' || Number(soft) >= FILES_MIN;
  if (enough) return check(name, 'ok', soft);
  const remedy = 'A daemon holds one descriptor for each process: ulimit -n 4096';
  return check(name, 'warn', soft, remedy);
}
