/** Whether names lead to every file, as many as its inode says, and every directory to the root. */
import { ROOT_INODE } from '../../../vos/protocol/fs.ts';
import { type CheckContext, KIND } from './context.ts';
import { InodeArray } from './inode-array.ts';

/** More links are not counted (EXT4_LINK_MAX): such a directory says that it has one. */
const LINKS_MAX = 65_000;
const PROGRESS_INODES = 65_536;
const UNKNOWN = 0;
const REACHED = 1;
const ON_THE_WAY = 2;
const LOST = 3;

export function checkNames(context: CheckContext): void {
  const { kinds, findings, onProgress, totals } = context;
  if (kinds.get(ROOT_INODE) !== KIND.directory) {
    findings.add('directory', 'the root is no directory', { inode: ROOT_INODE });
  }
  const ways = new Ways(context);
  let done = 0;
  for (const number of kinds.present()) {
    if (done++ % PROGRESS_INODES === 0) onProgress('names', done, totals.inodes);
    const kind = kinds.get(number);
    if (context.isOwn(number) || context.orphans.has(number) || kind === KIND.value) continue;
    if (kind === KIND.directory) ways.check(number);
    checkLinks(context, number, kind);
  }
}

function checkLinks({ links, names, findings }: CheckContext, number: number, kind: number): void {
  const found = names.get(number);
  const said = links.get(number);
  if (kind === KIND.unknown) return;
  if (found === 0) {
    findings.add('unattached', `inode ${String(number)} has no name`, { inode: number });
    return;
  }
  const isMany = kind === KIND.directory && found > LINKS_MAX && said === 1;
  if (found === said || isMany) return;
  const text = `inode ${String(number)}: ${String(said)} links, but it has ${String(found)}`;
  findings.add('link-count', text, { inode: number });
}

/** The ways from directories to the root. */
class Ways {
  readonly #context: CheckContext;
  readonly #states: InodeArray;

  constructor(context: CheckContext) {
    this.#context = context;
    const { inodesPerGroup } = context.disk.superblock;
    this.#states = new InodeArray(inodesPerGroup, (length) => new Uint8Array(length));
    this.#states.set(ROOT_INODE, REACHED);
  }

  check(number: number): void {
    const { parents, dots, findings } = this.#context;
    const parent = number === ROOT_INODE ? ROOT_INODE : parents.get(number);
    const said = dots.get(number);
    const place = { inode: number };
    if (said !== parent && said !== 0 && parent !== 0) {
      const text = `directory ${String(number)}: ".." is ${String(said)}, not ${String(parent)}`;
      findings.add('parent', text, place);
    }
    const way: number[] = [];
    let at = number;
    while (at !== 0 && this.#states.get(at) === UNKNOWN) {
      this.#states.set(at, ON_THE_WAY);
      way.push(at);
      at = parents.get(at);
    }
    const reached = at !== 0 && this.#states.get(at) === REACHED;
    for (const one of way) this.#states.set(one, reached ? REACHED : LOST);
    // One that is lost is told once: its highest directory, or the loop that it is in.
    if (
      reached ||
      way.length === 0 ||
      (at !== 0 && this.#states.get(at) === LOST && !way.includes(at))
    ) {
      return;
    }
    const what = at === 0 ? 'no name leads to it' : 'it is below itself';
    const lost = at === 0 ? (way.at(-1) ?? number) : at;
    findings.add('unattached', `directory ${String(lost)}: ${what}`, { inode: lost });
  }
}
