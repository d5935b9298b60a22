/**
 * A process of a DC that tests start, as a child process or as a Worker: it binds, says so, and
 * plays a role.
 *
 * `peer.js SEGMENT ROLE [ENDPOINT]`. It writes `ready ENDPOINT` to its parent; what its call came
 * to follows as `done RESULT`. The roles that end do so by returning, so that what holds the event
 * loop shows.
 */
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import {
  ANY,
  clearInterrupt,
  interruptOn,
  isDvkError,
  Segment,
  type Endpoint,
  type Process,
} from '../../src/dvk/index.ts';
import { QUIT, SERVER_SLOT } from './peer-roles.ts';

interface Peer {
  segment: Segment;
  process: Process;
  other: Endpoint;
}

function tell(text: string): void {
  if (parentPort !== null) parentPort.postMessage(text);
  else process.stdout.write(`${text}\n`);
}

function resultOf(error: unknown): string {
  return isDvkError(error) ? error.code : String(error);
}

/** Answers requests with their type plus one. */
function echo({ process }: Peer): void {
  process.rcvrqstSync();
  while (process.message.type !== QUIT) {
    process.message.type++;
    process.replyReceiveSync(process.message.source);
  }
  process.replySync(process.message.source);
}

async function echoAwaited({ process }: Peer): Promise<void> {
  await process.rcvrqst();
  while (process.message.type !== QUIT) {
    process.message.type++;
    await process.replyReceive(process.message.source);
  }
  process.replySync(process.message.source);
}

/** Grants 64 KiB of private memory full of 7, to anyone, and waits to be killed or told to end. */
function granter({ process, other }: Peer): void {
  const memory = new Uint8Array(1 << 16).fill(7);
  process.message.int32[2] = process.grant(memory, 'read-write', ANY);
  process.sendrecSync(other);
  process.message.int32[2] = memory[0] ?? 0;
  process.sendSync(other);
}

const ROLES: Record<string, (peer: Peer) => void | Promise<void>> = {
  echo,
  echoAwaited,
  granter,
  receive: ({ process }) => {
    process.receiveSync(ANY);
  },
  receiveOfThread: ({ process }) => {
    process.receiveSync(ANY);
  },
  receiveFrom: ({ process, other }) => {
    process.receiveSync(other);
  },
  send: ({ process, other }) => {
    process.sendSync(other);
  },
  sendrec: ({ process, other }) => {
    process.sendrecSync(other);
  },
  interruptible: ({ process }) => {
    interruptOn(['SIGTERM']);
    tell('armed');
    try {
      process.receiveSync(ANY);
    } finally {
      tell(`interrupted ${String(clearInterrupt())}`);
    }
  },
  awaitReceive: async ({ process }) => {
    await process.receive(ANY);
  },
  awaitSendrec: async ({ process, other }) => {
    await process.sendrec(other);
  },
  // Ends while a call is pending, in the way that runs no cleanup hook of the environment.
  exitPending: ({ process: bound }) => {
    void bound.receive(ANY);
    process.exit(0);
  },
  exitWithWorker: async ({ segment }) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: [segment.path, 'receive', '0'],
    });
    await once(worker, 'message');
    process.exit(0);
  },
  exitThrowing: ({ process: bound }) => {
    void bound.receive(ANY).catch(() => undefined);
    throw new Error('on purpose');
  },
  // Have a request in hand when they take more memory than there is.
  exhaustBuffers: ({ process }) => {
    process.receiveSync(ANY);
    const held: Buffer[] = [];
    for (;;) held.push(Buffer.alloc(1 << 22, 1));
  },
  exhaustHeap: ({ process }) => {
    process.receiveSync(ANY);
    const held: number[][] = [];
    for (;;) held.push(Array.from({ length: 1000 }, (_, i) => i + held.length / 2));
  },
  // Leaves everything open and returns: the loop is empty, so the process ends.
  leave: ({ segment, process }) => {
    segment.bind({ name: 'second', awaitable: true });
    process.message.clear();
  },
};

async function main(): Promise<void> {
  const [path = '', role = '', other = '0'] = isMainThread
    ? process.argv.slice(2)
    : (workerData as string[]);
  const segment = Segment.open(path);
  const server = role.startsWith('echo') ? { slot: SERVER_SLOT, level: 'server' as const } : {};
  const thread = role.endsWith('OfThread');
  const bound = segment.bind({ name: role.slice(0, 15), thread, ...server });
  tell(`ready ${String(bound.endpoint)}`);
  try {
    await ROLES[role]?.({ segment, process: bound, other: Number(other) as Endpoint });
    tell('done 0');
  } catch (error) {
    tell(`done ${resultOf(error)}`);
    if (!isDvkError(error)) throw error;
  }
}

await main();
