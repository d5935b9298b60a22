// The loop over /dev/fuse, with a device that replays results of read(2).
import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import type { FuseDevice } from '../../../src/vos/fuse/device.ts';
import { DeviceLoop, REQUESTS_PER_TURN } from '../../../src/vos/fuse/device.ts';
import { RequestBuffers } from '../../../src/vos/fuse/request-buffers.ts';

const { EAGAIN, EBADF, ECONNABORTED, EINTR, ENODEV, ENOENT } = constants.errno;

class ReplayedDevice implements FuseDevice {
  readonly log: string[] = [];
  writes: number[] = [];
  reads: number[];
  callback: (status: number, events: number) => void = () => undefined;

  constructor(reads: number[]) {
    this.reads = reads;
  }

  fuseMount(): number {
    return 7;
  }

  fuseUnmount(): number {
    return 0;
  }

  fuseRead(_fd: number, buffer: Uint8Array): number {
    this.log.push(`read ${buffer.length}`);
    return this.reads.shift() ?? -EAGAIN;
  }

  fuseWrite(): number {
    this.log.push('write');
    return this.writes.shift() ?? 16;
  }

  fuseClose(fd: number): number {
    this.log.push(`close ${fd}`);
    return 0;
  }

  pollStart(_fd: number, callback: (status: number, events: number) => void): number {
    this.callback = callback;
    return 3;
  }

  pollStop(id: number): number {
    this.log.push(`stop ${id}`);
    return 0;
  }
}

function run(reads: number[]): {
  device: ReplayedDevice;
  loop: DeviceLoop;
  requests: number[];
  ends: number[];
} {
  const device = new ReplayedDevice(reads);
  const requests: number[] = [];
  const ends: number[] = [];
  const loop = new DeviceLoop(device, 7, new RequestBuffers(1 << 20), {
    onRequest: (_view, length) => requests.push(length) > 0,
    onEnd: (errno) => ends.push(errno),
  });
  expect(loop.start()).toBe(0);
  return { device, loop, requests, ends };
}

describe('the device loop', () => {
  it('drains requests until none waits, over interruptions', () => {
    const { device, requests, ends } = run([56, -EINTR, 48, -ENOENT, 64, -EAGAIN, 99]);
    device.callback(0, 1);
    expect(requests).toEqual([56, 48, 64]);
    expect(ends).toEqual([]);
  });

  it('offers room for the largest write, which the kernel insists on', () => {
    const { device } = run([]);
    device.callback(0, 1);
    expect(device.log).toEqual([`read ${40 + 40 + 2 ** 20}`]);
  });

  it('leaves the rest to the next turn', () => {
    const { device, requests } = run(Array.from({ length: 100 }, () => 40));
    device.callback(0, 1);
    expect(requests.length).toBe(REQUESTS_PER_TURN);
    device.callback(0, 1);
    expect(requests.length).toBe(100);
  });

  it('ends cleanly when the file system was unmounted', () => {
    const { device, loop, ends } = run([40, -ENODEV]);
    device.callback(-EBADF, 0);
    expect(ends).toEqual([0]);
    expect(device.log.slice(-2)).toEqual(['stop 3', 'close 7']);
    expect(loop.send(new Uint8Array(16), 16, undefined)).toBe(-ENODEV);
    loop.stop();
    expect(ends).toEqual([0]);
  });

  it('ends with the error of an aborted connection, or of a lost poll', () => {
    const aborted = run([-ECONNABORTED]);
    aborted.device.callback(0, 1);
    expect(aborted.ends).toEqual([ECONNABORTED]);

    const lost = run([]);
    lost.device.callback(-EBADF, 0);
    expect(lost.ends).toEqual([EBADF]);
  });

  it('reads no more once it was stopped by a request', () => {
    const { device, loop, ends } = run([40, 40]);
    const stopping = new DeviceLoop(device, 8, new RequestBuffers(0), {
      onRequest: () => {
        stopping.stop();
        return true;
      },
      onEnd: (errno) => ends.push(errno),
    });
    stopping.start();
    device.callback(0, 1);
    expect(device.log.filter((line) => line.startsWith('read'))).toEqual(['read 8192']);
    loop.stop();
    expect(ends).toEqual([0, 0]);
  });

  it('sends again after a signal', () => {
    const { device, loop } = run([]);
    device.writes = [-EINTR, 16];
    expect(loop.send(new Uint8Array(16), 16, undefined)).toBe(16);
  });
});
