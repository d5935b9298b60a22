/** Names of the processes in a trace. */
import { formatEndpoint, isSpecial } from '../dvk/endpoint.ts';
import type { Endpoint, ProcessInfo, TraceEvent } from '../dvk/index.ts';

/** Where a process lives, and what it is called there. */
export interface TracedProcess {
  readonly endpoint: Endpoint;
  readonly name: string;
  readonly node: number;
}

/** The part of a node's segment that tells who is bound. */
export interface ProcessTable {
  processes(): readonly Pick<ProcessInfo, 'endpoint' | 'name' | 'node' | 'life'>[];
}

export class TraceNames {
  readonly #tables: ReadonlyMap<number, ProcessTable>;
  readonly #known = new Map<Endpoint, TracedProcess>();
  /** Asked for and not found: a process that is gone is not looked for again and again. */
  readonly #unknown = new Set<Endpoint>();
  readonly #labels = new Map<Endpoint, string>();

  /** `tables`: the segment of each node that is watched. */
  constructor(tables: ReadonlyMap<number, ProcessTable>) {
    this.#tables = tables;
    this.#refresh();
  }

  #refresh(): void {
    for (const [node, table] of this.#tables) {
      for (const info of table.processes()) this.#learn(info, node === info.node);
    }
  }

  // The node that a process lives on knows its name; others may not.
  #learn({ endpoint, name, node }: TracedProcess, home: boolean): void {
    if (isSpecial(endpoint) || (!home && this.#known.has(endpoint))) return;
    this.#known.set(endpoint, { endpoint, name, node });
    this.#unknown.delete(endpoint);
    this.#labels.delete(endpoint);
  }

  /** Takes the name that an event of a bind tells. */
  learn({ node, otherNode, endpoint, name }: TraceEvent): void {
    if (name === undefined || name === '' || otherNode === undefined) return;
    this.#learn({ endpoint, name, node: otherNode }, node === otherNode);
  }

  /** Who has the endpoint; undefined when it is not known, or special. */
  find(endpoint: Endpoint): TracedProcess | undefined {
    if (isSpecial(endpoint)) return undefined;
    if (!this.#known.has(endpoint) && !this.#unknown.has(endpoint)) {
      this.#unknown.add(endpoint);
      this.#refresh();
    }
    return this.#known.get(endpoint);
  }

  /** `fs 3.0`, or `70.3` for one whose name is not known, or `ANY`. */
  label(endpoint: Endpoint): string {
    const known = this.#labels.get(endpoint);
    if (known !== undefined) return known;
    const name = this.find(endpoint)?.name;
    const address = formatEndpoint(endpoint);
    const label = name === undefined ? address : `${name} ${address}`;
    this.#labels.set(endpoint, label);
    return label;
  }
}
