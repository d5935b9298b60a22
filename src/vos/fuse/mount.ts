/**
 * Mounts a file service on a directory: device, loop and gateway put together.
 *
 * Permissions are checked by the kernel (default_permissions); set-id bits and device files have no
 * effect. It serves until somebody
 * unmounts it, here or from outside; a process that dies leaves a dead mount (ENOTCONN), which the
 * next one on that directory detaches. Never look into the mount synchronously from the process
 * that serves it: it would wait for itself.
 */
import { constants } from 'node:os';
import type { Clock } from '../../dvk/clock.ts';
import type { DvkError } from '../../dvk/errors.ts';
import type { FileService } from '../client/file-service.ts';
import type { Trust } from '../client/leases.ts';
import { TRANSFER_BYTES_MAX } from '../protocol/fs.ts';
import type { SessionCounters } from './answers.ts';
import { isEnding } from './callers.ts';
import type { FuseDevice } from './device.ts';
import { DeviceLoop, MountFlag } from './device.ts';
import type { GatewayOptions } from './gateway.ts';
import { Gateway, GATEWAY_DEFAULTS } from './gateway.ts';
import { PageThread } from './pages.ts';
import { RequestBuffers } from './request-buffers.ts';
import { mountError, mountOn, prepareMountpoint, setReadAhead } from './mountpoint.ts';

const { EACCES, EINVAL, ENODEV, ENOENT, EPERM, EPROTO } = constants.errno;
const NAME_PATTERN = /^[A-Za-z0-9._:-]{1,64}$/;
const DIAGNOSTICS_BYTES = 512;
/**
 * Two requests of 1 MiB, so that one is read while the other is used. dd bs=1M of a file in memory:
 * 1.8 GB/s with the kernel's 128 KiB, 3.1 with 1024 and with 2048, 2.8 with 4096 and 8192.
 */
const READ_AHEAD_KIB = 2048;
/** Programs that still use an unmounted directory may finish for this long. */
const DRAIN_MS_MAX = 2000;

export interface MountOptions extends Partial<GatewayOptions> {
  readonly mountpoint: string;
  /** Shown by mount(8) and df(1) as `dvk:NAME`. */
  readonly name: string;
  /** Lets other users in; an ordinary user needs `user_allow_other` in /etc/fuse.conf for it. */
  readonly allowOther?: boolean;
  /** Who alone may use it, when that is not this process's user; takes root. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /** The most one READ asks for. */
  readonly readBytesMax?: number;
  /** How far the kernel reads ahead; takes effect only for root. */
  readonly readAheadKiB?: number;
}

export interface MountPorts {
  readonly device: FuseDevice;
  readonly service: FileService;
  readonly clock: Clock;
  /** The leases of the service, if the mount is to have them. */
  readonly trust?: Trust | undefined;
  /** Takes lines for the operator, at most some in ten seconds. */
  readonly log?: ((line: string) => void) | undefined;
  /** Memory that the service takes data from; without it, data is copied to where it does. */
  readonly allocate?: ((bytes: number) => Uint8Array) | undefined;
}

export interface FuseMount {
  readonly mountpoint: string;
  /** What the kernel reads ahead, or 0 when its default of 128 KiB stayed. */
  readonly readAheadKiB: number;
  readonly counters: Readonly<SessionCounters>;
  /** Files in the kernel's cache. */
  readonly nodes: number;
  /** Requests that wait for the file service. */
  readonly outstanding: number;
  /**
   * Settles when the session is over: with 0 after an unmount from anywhere, else with an errno.
   */
  readonly ended: Promise<number>;
  /** Detaches the mount, lets its users finish for a moment, and closes. Safe to call again. */
  unmount(): Promise<void>;
}

export async function mountFuse(ports: MountPorts, options: MountOptions): Promise<FuseMount> {
  if (!NAME_PATTERN.test(options.name)) {
    throw mountError(EINVAL, `"${options.name}" is no mount name; use letters and digits`);
  }
  const mountpoint = await prepareMountpoint(ports.device, ports.clock, options.mountpoint);
  const fd = openDevice(ports.device, mountpoint, options);
  const mount = new Mount(ports, mountpoint, fd, { ...GATEWAY_DEFAULTS, ...options });
  await mount.begin(options.readAheadKiB ?? READ_AHEAD_KIB);
  return mount;
}

class Mount implements FuseMount {
  readonly mountpoint: string;
  readonly ended: Promise<number>;
  readAheadKiB = 0;
  readonly #ports: MountPorts;
  readonly #gateway: Gateway;
  readonly #loop: DeviceLoop;
  readonly #pages: PageThread;
  readonly #ready: Promise<void>;
  #settleReady: (failure?: DvkError) => void = () => undefined;
  #settleEnded: (errno: number) => void = () => undefined;
  #deviceNumber = '';
  #isOver = false;
  #unmounted: Promise<void> | undefined;

  constructor(ports: MountPorts, mountpoint: string, fd: number, options: GatewayOptions) {
    this.#ports = ports;
    this.mountpoint = mountpoint;
    this.#ready = new Promise((resolve, reject) => {
      this.#settleReady = (failure) => {
        if (failure === undefined) resolve();
        else reject(failure);
      };
    });
    this.ended = new Promise((resolve) => {
      this.#settleEnded = resolve;
    });
    const buffers = new RequestBuffers(options.writeBytesMax, ports.allocate);
    this.#loop = new DeviceLoop(ports.device, fd, buffers, {
      onRequest: (view, length) => {
        this.#gateway.receive(view, length);
        return !this.#gateway.isFull;
      },
      onClosing: () => {
        this.#pages.end(this.#deviceNumber);
      },
      onEnd: (errno) => {
        this.#isOver = true;
        this.#gateway.abandon();
        this.#settleReady(mountError(ENODEV, `${mountpoint} was unmounted at once`));
        this.#settleEnded(errno);
      },
    });
    const port = {
      send: this.#loop.send.bind(this.#loop),
      onReady: (): void => {
        this.#settleReady();
      },
      onRefused: (major: number, minor: number): void => {
        const version = `${String(major)}.${String(minor)}`;
        this.#settleReady(
          mountError(EPROTO, `FUSE ${version} of this kernel is too old, 7.31 is needed`),
        );
      },
      onRoom: (): void => {
        this.#loop.resume();
      },
      isEnding,
      lend: () => buffers.lend(),
      tell: (line: string): void => ports.log?.(line),
    };
    const { service, clock, trust } = ports;
    this.#pages = new PageThread(fd);
    this.#gateway = new Gateway(service, { ...port, trust, pages: this.#pages }, clock, options);
  }

  get counters(): Readonly<SessionCounters> {
    return this.#gateway.counters;
  }

  get nodes(): number {
    return this.#gateway.nodes;
  }

  get outstanding(): number {
    return this.#gateway.outstanding;
  }

  /** Serves; resolves when the kernel's INIT was answered. */
  async begin(readAheadKiB: number): Promise<void> {
    try {
      const result = this.#loop.start();
      if (result < 0) throw mountError(result, 'the device cannot be polled');
      await this.#ready;
      this.#deviceNumber = (await mountOn(this.mountpoint))?.device ?? '';
    } catch (error) {
      this.#ready.catch(() => undefined);
      if (!this.#isOver) this.#ports.device.fuseUnmount(this.mountpoint, true);
      this.#loop.stop();
      throw error;
    }
    if (await setReadAhead(this.#deviceNumber, readAheadKiB)) this.readAheadKiB = readAheadKiB;
  }

  async unmount(): Promise<void> {
    this.#unmounted ??= this.#detachAndDrain();
    return this.#unmounted;
  }

  async #detachAndDrain(): Promise<void> {
    if (this.#isOver) {
      await this.#gateway.settle();
      return;
    }
    // Somebody may have unmounted this and mounted another file system here since.
    const mounted = await mountOn(this.mountpoint);
    if (mounted?.device === this.#deviceNumber) {
      this.#ports.device.fuseUnmount(this.mountpoint, true);
    }
    const cancel = this.#ports.clock.after(DRAIN_MS_MAX, () => {
      this.#loop.stop();
    });
    await this.ended;
    cancel();
    await this.#gateway.settle();
  }
}

function openDevice(device: FuseDevice, mountpoint: string, options: MountOptions): number {
  const data = [
    'default_permissions',
    `max_read=${String(options.readBytesMax ?? TRANSFER_BYTES_MAX)}`,
  ];
  if (options.allowOther === true) data.push('allow_other');
  const { owner } = options;
  if (owner) data.push(`user_id=${String(owner.uid)}`, `group_id=${String(owner.gid)}`);
  const diagnostics = new Uint8Array(DIAGNOSTICS_BYTES);
  const request = {
    source: `dvk:${options.name}`,
    data: data.join(','),
    flags:
      (options.readOnly === true ? MountFlag.READ_ONLY : 0) | MountFlag.NO_SUID | MountFlag.NO_DEV,
  };
  const fd = device.fuseMount(mountpoint, request, diagnostics);
  if (fd >= 0) return fd;
  throw mountError(fd, `on ${mountpoint}: ${remedy(fd, diagnostics)}`);
}

/** What to do about a mount that failed. */
function remedy(errno: number, diagnostics: Uint8Array): string {
  const complaint = Buffer.from(diagnostics.subarray(0, diagnostics.indexOf(0)))
    .toString('utf8')
    .trim();
  if (complaint.includes('/dev/fuse')) {
    return `${complaint}; give every user access to it: chmod 0666 /dev/fuse`;
  }
  if (complaint !== '') return complaint;
  if (errno === -ENOENT) return 'fusermount3 or /dev/fuse is missing; install the package fuse3';
  if (errno === -ENODEV) return 'the kernel has no FUSE; load it: modprobe fuse';
  if (errno === -EPERM || errno === -EACCES) {
    return 'not permitted; run as root, or give this user access to /dev/fuse';
  }
  return 'mount(2) failed';
}
