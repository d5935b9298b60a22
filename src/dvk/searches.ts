/**
 * Searches for processes that no binding of this node names, as the tracker of its proxy sees them
 * (src/proxies/tracker.ts). See native/core/search.h for what happens to those who wait.
 */
import { ErrorNumber, Limit, SearchLayout, SpecialEndpoint } from './abi/abi.gen.ts';
import { slotOf, type Endpoint, type NodeId } from './endpoint.ts';
import { check, fail } from './errors.ts';
import { levelNumber, type Level } from './info.ts';
import { native, type Binding } from './native.ts';
import type { Waker } from './waker.ts';

/** A process of this node that waits until somebody of another node is found. */
export interface Search {
  seeker: Endpoint;
  /** Number of its call; with the seeker it tells the search from all others. */
  callId: number;
  /** Where the process that is looked for is bound. */
  slot: number;
  /** Of that process; undefined: whoever has the slot, in a wait for a bind, which goes on. */
  endpoint: Endpoint | undefined;
  /** The one node that may have the slot; undefined: any may. */
  home: NodeId | undefined;
}

const BYTES = SearchLayout.BYTES;
const AT_ONCE = 64;
const EDVSNOPROXY = -ErrorNumber.EDVSNOPROXY;

function searchIn(view: DataView): Search {
  const endpoint = view.getInt32(SearchLayout.endpoint, true);
  const home = view.getUint32(SearchLayout.home, true);
  return {
    seeker: view.getInt32(SearchLayout.seeker, true) as Endpoint,
    callId: view.getUint32(SearchLayout.callId, true),
    slot: view.getUint32(SearchLayout.slot, true),
    endpoint: endpoint === SpecialEndpoint.NONE ? undefined : (endpoint as Endpoint),
    home: home === Limit.NODES_MAX ? undefined : (home as NodeId),
  };
}

export class Searches {
  readonly #native: Binding = native();
  readonly #segment: number;
  readonly #waker: () => Waker;
  #stop: (() => void) | undefined;

  /** For `Segment` alone: `segment` is a handle of the addon. */
  constructor(segment: number, waker: () => Waker) {
    this.#segment = segment;
    this.#waker = waker;
  }

  /**
   * Makes the caller the tracker of this node; `onWake` is called when a search may have begun, and
   * for nothing. EDVSPROXYRUN: another program that lives is it already.
   */
  attach(onWake: () => void): void {
    const waker = this.#waker();
    check(waker.attachTracker(this.#segment), 'searches.attach');
    this.#stop?.();
    this.#stop = waker.listen(onWake);
  }

  /** Ends `attach`: searches end with EDVSNOPROXY, and none begins. */
  detach(): void {
    if (this.#stop === undefined) return;
    this.#stop();
    this.#stop = undefined;
    const result = this.#native.detachTracker(this.#segment);
    // It is that no more: the table is lost with the container.
    if (result !== EDVSNOPROXY) check(result, 'searches.detach');
  }

  /** Whether one may have begun since `list`. */
  get hasNew(): boolean {
    return this.#native.hasNewSearches(this.#segment);
  }

  /** All, by rising slot of the seeker. */
  list(): Search[] {
    const found: Search[] = [];
    const bytes = new Uint8Array(AT_ONCE * BYTES);
    for (let first = 0; ;) {
      const count = this.#native.searches(this.#segment, first, bytes);
      if (count < 0) fail(count, 'searches.list');
      for (let i = 0; i < count; i++) found.push(searchIn(new DataView(bytes.buffer, i * BYTES)));
      const last = found.at(-1);
      if (count < AT_ONCE || last === undefined) return found;
      first = slotOf(last.seeker) + 1;
    }
  }

  /**
   * Ends a search that has found nobody: its call fails with `error`, a positive number. False when
   * it was over. A wait for a bind goes on.
   */
  end({ seeker, callId }: Search, error: number): boolean {
    return this.#native.endSearch(this.#segment, seeker, callId, error);
  }

  /**
   * Binds a process that `node` says it has. Returns 0, or -errno: EDVSBADFRAME (that node may not
   * have it), EDVSSLOTUSED (another one has it, or a process of this node), EDEADSRCDST (a newer
   * one of that node is known), EDVSNODCNODE, ETIMEDOUT.
   */
  bindClaimed(node: NodeId, endpoint: Endpoint, level: Level, name: string): number {
    const number = levelNumber(level);
    return this.#native.bindClaimed(this.#segment, node, endpoint, number, name);
  }
}
