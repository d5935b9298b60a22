/** A server that moves between the nodes of a test (moving-server.ts), and those who call it. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeId, type Endpoint } from '../../src/dvk/index.ts';
import { COUNTS } from './moving-server.ts';
import type { DcMember } from './dc-members.ts';
import type { ProxyNode } from './proxy-node.ts';

const PROGRAM = join(import.meta.dirname, '../../dist/test/support/moving-server.js');
export const MOVING_SLOT = 9;

/** What the server has counted. */
export interface Counts {
  served: number;
  repeated: number;
  missing: number;
}

export class MovingServer {
  readonly #directory: string = mkdtempSync(join(tmpdir(), 'dvk-moving-'));
  readonly #children = new Map<number, ChildProcess>();
  readonly #nodes: readonly ProxyNode[];
  endpoint = 0 as Endpoint;

  private constructor(nodes: readonly ProxyNode[]) {
    this.#nodes = nodes;
    const empty = { served: 0, repeated: 0, missing: 0, last: {} };
    writeFileSync(this.#stateFile, JSON.stringify(empty));
  }

  get #stateFile(): string {
    return join(this.#directory, 'state');
  }

  /** Starts it on node `home`, and a backup on each node of `backups`. */
  static async start(
    nodes: readonly ProxyNode[],
    home: number,
    backups: readonly number[],
  ): Promise<MovingServer> {
    const server = new MovingServer(nodes);
    server.endpoint = await server.#fork(home, [String(MOVING_SLOT)]);
    for (const node of nodes) await node.knows(server.endpoint);
    for (const node of backups) await server.backUp(node, home);
    return server;
  }

  /** Starts a backup on `node` of the server on `home`. */
  async backUp(node: number, home: number): Promise<void> {
    await this.#fork(node, ['backup', String(this.endpoint), String(home)]);
  }

  async #fork(node: number, role: readonly string[]): Promise<Endpoint> {
    const child = fork(PROGRAM, [this.#nodeAt(node).segment.path, this.#stateFile, ...role], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#children.set(node, child);
    const [{ endpoint }] = (await once(child, 'message')) as [{ endpoint: Endpoint }];
    return endpoint;
  }

  #nodeAt(node: number): ProxyNode {
    const found = this.#nodes[node];
    if (!found) throw new Error(`there is no node ${node}`);
    return found;
  }

  /** Moves it from a node to another one. */
  async move(from: number, to: number, timeoutMs = 20_000): Promise<void> {
    const { migrations } = this.#nodeAt(from).segment.segment;
    await migrations.migrate(this.endpoint, nodeId(to), { timeoutMs });
  }

  /** Kills its program on that node, and frees the slot as the node daemon does. */
  async kill(node: number): Promise<void> {
    const child = this.#children.get(node);
    this.#children.delete(node);
    if (child?.exitCode === null && child.signalCode === null) {
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
    }
    this.#nodeAt(node).segment.segment.reap(MOVING_SLOT, this.endpoint);
  }

  /** Asks it, by a member that makes no call. */
  async counts(member: DcMember): Promise<Counts> {
    const { numbers } = await member.ipc({ call: 'sendrec', peer: this.endpoint, type: COUNTS });
    const [served, repeated, missing] = numbers;
    return { served, repeated, missing };
  }

  /** The nodes where it is local: where it lives. */
  owners(): number[] {
    return this.#nodes
      .filter(({ segment }) => segment.segment.process(MOVING_SLOT)?.life === 'local')
      .map(({ node }) => node);
  }

  async remove(): Promise<void> {
    for (const node of [...this.#children.keys()]) await this.kill(node);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
