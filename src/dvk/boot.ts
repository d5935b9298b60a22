/**
 * The child's side of a service: what every server program calls first.
 *
 * The node daemon starts a service as a child process with an IPC channel and its configuration in
 * DVK_SERVICE. `boot` ties the child's life to the daemon's, so that no service outlives its node,
 * and reports to it: `ready`, or `failed` with one line that says why. The line also goes to the
 * service's log, which is its stderr.
 *
 * An event-driven server awaits `stopping`. A server that blocks in calls passes `blocking: true`:
 * then no JavaScript handler is put on SIGTERM, the signal ends the blocking call with EINTR, and
 * the server leaves its loop.
 */
import { isDvkError } from './errors.ts';
import { dieWithParent, interruptOn } from './system.ts';

/** What the daemon tells every service; `service` is its entry in the spec. */
export interface ServiceConfig<Service = unknown> {
  readonly dvs: string;
  /** Name and number of the container. */
  readonly dc: string;
  readonly dcId: number;
  readonly node: number;
  /** Path of the container's segment on this node. */
  readonly segment: string;
  readonly service: Service;
}

/** The daemon asks by a message of this type, and is told by one. */
export const COUNTERS = 'counters';

/** What a service tells the daemon, over the IPC channel. */
export type ServiceMessage =
  | { readonly type: 'ready'; readonly info: object }
  | { readonly type: typeof COUNTERS; readonly counters: Readonly<Record<string, number>> }
  | { readonly type: 'failed'; readonly error: string };

export interface BootOptions {
  /** The server blocks in its calls; SIGTERM and SIGINT end them with EINTR. */
  blocking?: boolean;
}

export interface Boot<Config> {
  readonly config: Config;
  /**
   * Tells the daemon that requests are answered from now on; resolves when that has left this
   * process.
   */
  readonly ready: (info?: object) => Promise<void>;
  /** Settles when the service is asked to stop; never for a blocking server. */
  readonly stopping: Promise<void>;
}

const FAILED = 1;
const CONFIG_VARIABLE = 'DVK_SERVICE';
const PARENT_VARIABLE = 'DVK_PARENT';

/** Starts a service. Ends the process, with a report, when the configuration cannot be used. */
export async function boot<Config = ServiceConfig>(
  options: BootOptions = {},
): Promise<Boot<Config>> {
  process.on('uncaughtException', (error) => void bootFailed(error));
  process.on('unhandledRejection', (error) => void bootFailed(error));
  try {
    followParent();
    const config = readConfig() as Config;
    const stopping = options.blocking === true ? never() : stopSignal();
    if (options.blocking === true) interruptOn(['SIGTERM', 'SIGINT']);
    return { config, ready, stopping };
  } catch (error) {
    return await bootFailed(error);
  }
}

/** Reports why the service cannot go on, to the log and to the daemon, and ends the process. */
export async function bootFailed(error: unknown): Promise<never> {
  const line = describe(error);
  process.stderr.write(`failed: ${line}\n`);
  if (error instanceof Error && !isDvkError(error) && error.stack !== undefined) {
    process.stderr.write(`${error.stack}\n`);
  }
  await report({ type: 'failed', error: line });
  process.exit(FAILED);
}

/** Writes a line to the service's log, with the time. A log that cannot be written ends nobody. */
export function logLine(line: string): void {
  if (process.stderr.listenerCount('error') === 0) process.stderr.on('error', () => undefined);
  process.stderr.write(`${new Date().toISOString()} ${line}\n`);
}

// The daemon may have ended between its fork and this call; `dieWithParent` then fails with ESRCH.
function followParent(): void {
  const parent = Number(process.env[PARENT_VARIABLE]);
  if (!Number.isInteger(parent) || parent <= 0) return;
  try {
    dieWithParent('SIGKILL', parent);
  } catch (error) {
    if (isDvkError(error, 'ESRCH')) process.exit(FAILED);
    throw error;
  }
}

function readConfig(): unknown {
  const text = process.env[CONFIG_VARIABLE];
  if (text === undefined) {
    throw new Error(`${CONFIG_VARIABLE} is not set: services are started by the node daemon`);
  }
  return JSON.parse(text);
}

function describe(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split('\n', 1)[0] ?? message;
}

/** Tells the daemon what `counters` returns whenever it asks; not for a server that blocks. */
export function answerCounters(counters: () => Readonly<Record<string, number>>): void {
  process.on('message', ({ type }: { readonly type?: unknown }) => {
    if (type === COUNTERS) void report({ type: COUNTERS, counters: counters() });
  });
}

async function ready(info: object = {}): Promise<void> {
  await report({ type: 'ready', info });
}

/** Resolves when the report is with the daemon, or cannot get there. */
async function report(message: ServiceMessage): Promise<void> {
  const send = process.send?.bind(process);
  if (send === undefined || !process.connected) return;
  await new Promise<void>((resolve) => {
    send(message, undefined, undefined, () => {
      resolve();
    });
  });
}

async function stopSignal(): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        resolve();
      });
    }
    // The channel ends with the daemon; a child that could not follow its parent ends here.
    process.once('disconnect', () => {
      resolve();
    });
  });
}

async function never(): Promise<void> {
  return new Promise<void>(() => undefined);
}
