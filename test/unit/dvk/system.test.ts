// Small system calls: life and death of other processes, CPUs, signals, timers.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { constants, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  DvkError,
  clearInterrupt,
  closeFd,
  descriptorOf,
  dieWithParent,
  interruptOn,
  peerCredentials,
  pidfdOpen,
  pinToCpu,
  processAlive,
  processStartTime,
  setAffinity,
  systemClock,
  uninterrupted,
  watchReadable,
} from '../../../src/dvk/index.ts';
import { setSlice } from '../../../src/dvk/system.ts';

function allowedCpus(): string {
  const status = readFileSync('/proc/thread-self/status', 'utf8');
  return /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? '';
}

describe('another process', () => {
  it('is told apart from the next with its pid, and watched until it ends', async () => {
    const child = spawn('sleep', ['60']);
    const pid = child.pid!;
    const started = processStartTime(pid);
    expect(processAlive(pid, started)).toBe(true);
    expect(processAlive(pid, started + 1n)).toBe(false);

    const fd = pidfdOpen(pid);
    const ended = new Promise<number>((resolve) => {
      const stop = watchReadable(fd, (status) => {
        stop();
        resolve(status);
      });
    });
    child.kill('SIGKILL');
    expect(await ended).toBe(0);
    closeFd(fd);
    await once(child, 'exit');

    expect(processAlive(pid, started)).toBe(false);
    expect(processStartTime(pid)).toBe(0n);
    expect(() => pidfdOpen(pid)).toThrow(/^ESRCH/);
    expect(() => {
      closeFd(-1);
    }).toThrow(/^EBADF/);
  });

  it('that was the parent and is gone is noticed', () => {
    expect(() => {
      dieWithParent('SIGTERM', process.ppid + 1);
    }).toThrow(/^ESRCH/);
  });
});

describe('a connection', () => {
  async function credentials(server: Server, at: string | number): Promise<unknown> {
    await new Promise<void>((resolve) => server.listen(at, resolve));
    const address = server.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const client = port === 0 ? connect(String(at)) : connect(port, '127.0.0.1');
    const [accepted] = (await once(server, 'connection')) as [Socket];
    const found = peerCredentials(descriptorOf(accepted) ?? -1);
    accepted.destroy();
    client.destroy();
    server.close();
    return found;
  }

  it('over a unix socket is of a process and its user', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'dvk-peer-'));

    expect(await credentials(createServer(), join(directory, 'socket'))).toEqual({
      pid: process.pid,
      uid: process.geteuid?.(),
    });
    rmSync(directory, { recursive: true });
  });

  it('over TCP is of nobody', async () => {
    expect(await credentials(createServer(), 0)).toEqual({ pid: 0, uid: 2 ** 32 - 1 });
  });

  it('has no descriptor when there is none', () => {
    expect(descriptorOf(createServer())).toBeUndefined();
    expect(() => peerCredentials(-1)).toThrow(/^EBADF/);
  });
});

describe('the thread', () => {
  it('is pinned to CPUs that exist', () => {
    const before = allowedCpus();
    const all = before.split(',').flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
    try {
      pinToCpu(all[0]!);
      expect(allowedCpus()).toBe(String(all[0]));
      expect(() => {
        pinToCpu(100_000);
      }).toThrow(/^EINVAL/);
      expect(() => {
        setAffinity([]);
      }).toThrow(/^EINVAL/);
    } finally {
      setAffinity(all);
    }
  });

  it('has a slice of its own, where the kernel has slices', () => {
    const sliceUs = (): number => {
      const known = readFileSync('/proc/thread-self/sched', 'utf8');
      return Number(/^se\.slice\s*:\s*(\d+)/m.exec(known)?.[1]) / 1000;
    };
    const [major = 0, minor = 0] = release().split('.').map(Number);
    if (major < 6 || (major === 6 && minor < 12)) {
      expect(setSlice(100)).toBe(false);
      return;
    }
    const before = sliceUs();

    for (const us of [100, 100_000, before]) {
      expect(setSlice(us)).toBe(true);
      expect(sliceUs()).toBe(us);
    }
  });

  it('clears an interrupt that came', async () => {
    interruptOn(['SIGUSR2']);
    expect(clearInterrupt()).toBe(false);
    process.kill(process.pid, 'SIGUSR2');
    await new Promise((resolve) => setImmediate(resolve));

    expect(clearInterrupt()).toBe(true);
    expect(clearInterrupt()).toBe(false);
    expect(() => {
      interruptOn(['SIGKILL']);
    }).toThrow(/^EINVAL/);
  });

  it('makes a call again that an interrupt has ended, and keeps the interrupt', async () => {
    interruptOn(['SIGUSR2']);
    process.kill(process.pid, 'SIGUSR2');
    await new Promise((resolve) => setImmediate(resolve));
    let calls = 0;
    const interrupted = (): number => {
      if (++calls < 2) throw new DvkError(-constants.errno.EINTR, 'vcopy');
      return calls;
    };

    expect(uninterrupted(interrupted)).toBe(2);
    expect(clearInterrupt()).toBe(true);
    // Nor does it go on for ever without a signal.
    calls = 0;
    expect(() => uninterrupted(interrupted)).toThrow(/^EINTR/);
    expect(clearInterrupt()).toBe(false);
  });
});

describe('systemClock', () => {
  it('calls back after the time, unless it is called off', async () => {
    const started = systemClock.nowMs();
    let called = false;
    const cancel = systemClock.after(1, () => {
      called = true;
    });
    cancel();
    cancel();
    await new Promise<void>((resolve) => {
      systemClock.after(10, resolve);
    });

    expect(called).toBe(false);
    expect(systemClock.nowMs() - started).toBeGreaterThanOrEqual(9);
  });

  it('does not call at once when the time is longer than a timer can be', async () => {
    let called = false;
    const cancel = systemClock.after(2 ** 33, () => {
      called = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    cancel();
    expect(called).toBe(false);
  });
});
