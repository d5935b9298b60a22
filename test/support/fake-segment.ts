/** A segment without a core: a queue of commands for each node, and a record of what came. */
import { CommandLayout } from '../../src/dvk/abi/abi.gen.ts';
import type { DcId, NodeId } from '../../src/dvk/endpoint.ts';
import type { LinkInfo } from '../../src/dvk/info.ts';
import type { ProxySegment } from '../../src/proxies/peer.ts';
import { command, type CommandFields } from './proxy-frames.ts';

const NO_BYTES: Uint8Array = new Uint8Array(0);

export interface FakeCommand {
  fields: CommandFields;
  payload: Uint8Array;
  /** The bytes of the command's message. */
  message: Uint8Array;
}

export class FakeSegment implements ProxySegment {
  readonly dcId: DcId;
  readonly node: NodeId;
  readonly members: Set<number>;
  readonly queues = new Map<number, FakeCommand[]>();
  /** `up 1 (3)`: link to node 1 with session 3; `down 1`. */
  readonly history: string[] = [];
  /** What came: node, then call id. */
  readonly received: [number, number][] = [];
  readonly commands: Uint8Array[] = [];
  receivedBytes = 0;
  /** None: commands go and come one by one. */
  frames: ProxySegment['frames'];
  taken = 0;
  readonly #wake = new Map<number, () => void>();
  readonly #armed = new Set<number>();

  constructor(dcId: number, node: number, members: number[]) {
    this.dcId = dcId as DcId;
    this.node = node as NodeId;
    this.members = new Set(members);
  }

  /** Queues a command, and wakes the proxy when it sleeps. */
  queue(node: number, fields: CommandFields, payload = NO_BYTES, message = NO_BYTES): void {
    this.pile(node, fields, payload, message);
    if (this.#armed.delete(node)) this.#wake.get(node)?.();
  }

  /** Queues a command without a word. */
  pile(node: number, fields: CommandFields, payload = NO_BYTES, message = NO_BYTES): void {
    const all = {
      dcId: this.dcId,
      sourceNode: this.node,
      destinationNode: node,
      kind: 1,
      payloadBytes: payload.length,
      ...fields,
    };
    const list = this.queues.get(node) ?? [];
    list.push({ fields: all, payload, message });
    this.queues.set(node, list);
  }

  links(): LinkInfo[] {
    return [...this.members].map((node) => ({
      node: node as NodeId,
      name: `n${node}`,
      state: 'down',
      session: 0,
      proxyPid: 0,
      sent: 0,
      received: 0,
      sentBytes: 0,
      receivedBytes: 0,
      dropped: 0,
      queued: this.queues.get(node)?.length ?? 0,
      queueLimit: 1088,
    }));
  }

  attachProxy(node: NodeId, onWork: () => void): void {
    this.#wake.set(node, onWork);
  }

  detachProxy(node: NodeId): void {
    this.#wake.delete(node);
  }

  linkUp(node: NodeId, session: number): void {
    this.history.push(`up ${node} (${session})`);
  }

  linkDown(node: NodeId): void {
    this.history.push(`down ${node}`);
  }

  get2rmt(node: NodeId, target: Uint8Array, payload: Uint8Array, shortOnly = false): boolean {
    this.#armed.delete(node);
    const index = this.#next(node, shortOnly);
    const [next] = index < 0 ? [] : (this.queues.get(node)?.splice(index, 1) ?? []);
    if (next === undefined) return false;
    target.set(command(next.fields));
    target.set(next.message, CommandLayout.message);
    payload.set(next.payload);
    this.taken++;
    return true;
  }

  armProxy(node: NodeId, shortOnly = false): boolean {
    this.#armed.add(node);
    return this.#next(node, shortOnly) >= 0;
  }

  #next(node: NodeId, shortOnly: boolean): number {
    const queue = this.queues.get(node) ?? [];
    return queue.findIndex(({ payload }) => !shortOnly || payload.length === 0);
  }

  put2lclRaw(node: NodeId, bytes: Uint8Array, payload: Uint8Array): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    this.received.push([node, view.getUint32(CommandLayout.callId, true)]);
    this.commands.push(bytes.slice());
    this.receivedBytes += payload.length;
    return 0;
  }

  remoteWaits(): [] {
    return [];
  }

  remoteWait(): undefined {
    return undefined;
  }

  followWaits(): undefined {
    return undefined;
  }

  lockWait(): boolean {
    return false;
  }

  readonly searches: ProxySegment['searches'] = {
    attach: (): void => undefined,
    detach: (): void => undefined,
    hasNew: false,
    list: (): [] => [],
    end: (): boolean => false,
    bindClaimed: (): number => 0,
  };

  readonly migrations = { of: (): never => fail('no process here moves') };

  process(): undefined {
    return undefined;
  }

  unbindRemote(): void {
    // Nobody is bound.
  }
}

function fail(what: string): never {
  throw new Error(what);
}
