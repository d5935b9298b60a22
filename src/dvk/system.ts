/**
 * Small system calls that Node lacks: life and death of processes, CPUs, signals, descriptors, and
 * files.
 */
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';

import { check, isDvkError } from './errors.ts';
import { native } from './native.ts';

export type Signal = keyof typeof constants.signals;

/**
 * A descriptor that becomes readable when process `pid` ends; it names that very process, also
 * after its pid is given to another. Close it with `closeFd`. ESRCH.
 */
export function pidfdOpen(pid: number): number {
  return check(native().pidfdOpen(pid), 'pidfdOpen');
}

/** Closes a descriptor of this file's calls. EBADF. */
export function closeFd(fd: number): void {
  check(native().closeFd(fd), 'closeFd');
}

/**
 * Has the calling thread use the network namespace of this file, as /run/netns/NAME, from now on:
 * sockets that it opens and interfaces that it sees are of there. Needs CAP_SYS_ADMIN: EPERM.
 */
export function enterNetwork(path: string): void {
  const fd = openSync(path, 'r');
  try {
    check(native().enterNetwork(fd), 'enterNetwork', { reason: path });
  } finally {
    closeSync(fd);
  }
}

/**
 * Calls back when `fd` can be read (status 0, and libuv's event bits: 1 readable, 4 disconnected),
 * or once with status -errno. The function returned ends that; the descriptor may be closed right
 * after.
 */
export function watchReadable(
  fd: number,
  onReadable: (status: number, events: number) => void,
): () => void {
  const poll = check(native().pollStart(fd, onReadable), 'pollStart');
  return () => {
    native().pollStop(poll);
  };
}

/**
 * The same for a socket. An error of it, such as one that the network tells of, ends a watch: then
 * `onError` is to take it away, and the watch goes on.
 */
export function watchSocket(fd: number, onReadable: () => void, onError: () => void): () => void {
  let isOver = false;
  let end: () => void;
  const start = (): void => {
    end = watchReadable(fd, (status) => {
      if (status >= 0) {
        onReadable();
        return;
      }
      end();
      onError();
      if (!isOver) start();
    });
  };
  start();
  return () => {
    isOver = true;
    end();
  };
}

/**
 * Sends `signal` to this process when the thread that started it ends. `parent` is the pid of that
 * process as told by itself: when it is gone already, ESRCH, and the caller should exit.
 */
export function dieWithParent(signal: Signal, parent: number): void {
  check(native().dieWithParent(constants.signals[signal], parent), 'dieWithParent');
}

/** This process, which has keys in its memory, leaves no core dump, nor do its children. */
export function leaveNoDump(): void {
  check(native().leaveNoDump(), 'leaveNoDump');
}

/**
 * Lets the calling thread run on these CPUs only. EINVAL when none of them exists or may be used.
 */
export function setAffinity(cpus: readonly number[]): void {
  check(native().setAffinity(Int32Array.from(cpus)), 'setAffinity');
}

/** Keeps the calling thread on one CPU. EINVAL. */
export function pinToCpu(cpu: number): void {
  setAffinity([cpu]);
}

/**
 * How long the calling thread runs at a stretch, in us from 100 to 100,000; it gets the same share
 * of a CPU with any. Who is woken takes the CPU from one with a longer slice at once. Returns
 * whether that is so from now on: kernels before Linux 6.12 have one slice for all, and real-time
 * threads have none. See sched_setattr(2), and Documentation/scheduler/sched-eevdf.rst.
 */
export function setSlice(microseconds: number): boolean {
  return native().setSlice(microseconds) === 0;
}

/** Lets whoever waits for this CPU run first; see sched_yield(2). */
export function yieldCpu(): void {
  check(native().yieldCpu(), 'yieldCpu');
}

/**
 * Makes these signals end blocking calls of this process, on every thread, with EINTR, from now
 * until `clearInterrupt`. The signals do nothing else: a loop that gets EINTR decides what to do.
 */
export function interruptOn(signals: readonly Signal[]): void {
  for (const signal of signals) {
    check(native().interruptOn(constants.signals[signal]), 'interruptOn', { reason: signal });
  }
}

/** Lets blocking calls block again. Returns whether a signal had come. */
export function clearInterrupt(): boolean {
  return native().clearInterrupt() === 1;
}

/**
 * Makes a blocking call that a signal of `interruptOn` is not to end, and may be made again from
 * the start. The signal ends the next call.
 */
export function uninterrupted<T>(call: () => T): T {
  let isInterrupted = false;
  try {
    for (;;) {
      try {
        return call();
      } catch (error) {
        if (!isDvkError(error, 'EINTR') || !clearInterrupt()) throw error;
        isInterrupted = true;
      }
    }
  } finally {
    if (isInterrupted) native().interrupt();
  }
}

/**
 * When a process was started, in clock ticks since boot; 0 when there is none. Tells a reused pid
 * apart.
 */
export function processStartTime(pid: number): bigint {
  return native().processStartTime(pid);
}

/** Whether the process of that pid and start time exists; a zombie does not count. */
export function processAlive(pid: number, startTime: bigint): boolean {
  return native().processAlive(pid, startTime);
}

/**
 * Whether this kernel lets a process that waits move its own memory for a vcopy: it must answer
 * PROCMAP_QUERY (linux/fs.h), as since Linux 6.11. Without it private memory is copied by
 * process_vm_readv and process_vm_writev alone.
 */
export function canLend(): boolean {
  return native().canLend();
}

/**
 * The descriptor of a socket or server of node:net, which does not tell it in public: undefined
 * when this Node.js keeps it elsewhere, or there is none any more.
 */
export function descriptorOf(socket: object): number | undefined {
  const { fd = -1 } = (socket as { _handle?: { fd?: number } | null })._handle ?? {};
  return fd < 0 ? undefined : fd;
}

/** Who is at the other end of a connection. */
export interface PeerCredentials {
  /** 0 of a process that this one's namespace of pids does not have. */
  readonly pid: number;
  /** The effective user, as of when it connected. */
  readonly uid: number;
}

/**
 * Who connected to the unix socket that accepted `fd`: SO_PEERCRED of unix(7), which the kernel
 * fills in. EBADF, ENOTSOCK; of another kind of socket it is nobody, whose uid is 2^32 - 1.
 */
export function peerCredentials(fd: number): PeerCredentials {
  const out = new Int32Array(2);
  check(native().peerCredentials(fd, out), 'peerCredentials');
  const [pid = 0, uid = -1] = out;
  return { pid, uid: uid >>> 0 };
}

/**
 * Locks the open file until it is closed everywhere: who asks for a lock that does not go with it
 * gets false. It does not keep anyone from reading or writing. See flock(2).
 */
export function lockFile(fd: number, kind: 'shared' | 'exclusive'): boolean {
  const result = native().lockFile(fd, kind === 'shared');
  if (result === -constants.errno.EWOULDBLOCK) return false;
  check(result, 'lockFile');
  return true;
}

/**
 * Gives the bytes `[at, at + bytes)` of a file, or of a block device, back to what holds them; they
 * read as zeros then. EOPNOTSUPP where that cannot be done. See fallocate(2).
 */
export function punchHole(fd: number, at: number, bytes: number): void {
  check(native().punchHole(fd, at, bytes), 'punchHole');
}
