/**
 * Directories: their blocks, whether each name leads to a file of its type, and their indexes. How
 * many names each file has is counted for the pass that follows.
 */
import { damaged } from '../errors.ts';
import { Contents } from '../ext4/contents.ts';
import { Directories } from '../ext4/directory.ts';
import { DirectoryBlocks } from '../ext4/directory-blocks.ts';
import {
  ENTRY_BYTES_MIN,
  ENTRY_NAME_AT,
  entryType,
  isDots,
  recordBytes,
  verifyEntries,
} from '../ext4/directory-entries.ts';
import { type Inode, hasFlag } from '../ext4/inode.ts';
import { INODE_FLAG, u32 } from '../ext4/layout.ts';
import { ROOT_INODE } from '../../../vos/protocol/fs.ts';
import { type CheckContext, KIND } from './context.ts';
import { IndexCheck } from './index-check.ts';

const PROGRESS_DIRECTORIES = 256;
/** The types of entries (DT_*) by the kinds of inodes. */
const TYPES: ReadonlyMap<number, number> = new Map<number, number>([
  [KIND.fifo, 1],
  [KIND.character, 2],
  [KIND.directory, 4],
  [KIND.block, 6],
  [KIND.regular, 8],
  [KIND.symlink, 10],
  [KIND.socket, 12],
]);

/** An entry of a directory. */
interface Entry {
  readonly inode: number;
  readonly type: number;
  readonly name: Uint8Array;
}

function verifyRecords(entries: Uint8Array, directory: number, logical: number): void {
  for (let at = 0; at < entries.length;) {
    const bytes = recordBytes(entries, at);
    const room = bytes - ENTRY_NAME_AT;
    if (bytes < ENTRY_BYTES_MIN || at + bytes > entries.length || (entries[at + 6] ?? 0) > room) {
      throw damaged`directory ${directory}, block ${logical}: the entry at byte ${at} does not fit`;
    }
    at += bytes;
  }
}

export class DirectoriesCheck {
  readonly #context: CheckContext;
  readonly #plain: DirectoryBlocks;
  readonly #sealed: DirectoryBlocks;
  readonly #lists: Directories;
  readonly #index: IndexCheck;

  constructor(context: CheckContext) {
    const contents = new Contents(context.plain);
    this.#context = context;
    this.#plain = new DirectoryBlocks(context.plain, contents);
    this.#sealed = new DirectoryBlocks(context.disk, contents);
    this.#lists = new Directories(context.plain, contents);
    this.#index = new IndexCheck(context, this.#plain);
  }

  run(): void {
    const { kinds, onProgress, totals, findings } = this.#context;
    let done = 0;
    for (const number of kinds.present()) {
      if (kinds.get(number) !== KIND.directory) continue;
      if (done % PROGRESS_DIRECTORIES === 0) onProgress('directories', done, totals.directories);
      done++;
      const place = { inode: number };
      const raw = findings.attempt('directory', place, () => this.#context.raw(number));
      if (raw !== undefined) this.#checkDirectory(this.#context.parse(number, raw));
    }
  }

  #checkDirectory(directory: Inode): void {
    const { findings } = this.#context;
    const place = { inode: directory.number };
    if (hasFlag(directory, INODE_FLAG.inlineData)) {
      findings.attempt('directory', place, () => {
        this.#lists.list(directory, 0, ({ inode, type, name }) => {
          this.#take(directory.number, { inode, type, name });
          return true;
        });
      });
      return;
    }
    const blocks = findings.attempt('directory', place, () => this.#plain.count(directory)) ?? 0;
    let sound = true;
    for (let logical = 0; logical < blocks; logical++) {
      sound = this.#checkBlock(directory, logical) && sound;
    }
    if (!sound || !this.#context.hasIndexes || !hasFlag(directory, INODE_FLAG.index)) return;
    if (hasFlag(directory, INODE_FLAG.encrypt)) return;
    findings.attempt('index', place, () => {
      this.#index.run(directory, blocks);
    });
  }

  /** Whether its entries could be read. */
  #checkBlock(directory: Inode, logical: number): boolean {
    const { findings, plain } = this.#context;
    const { number } = directory;
    const entries = findings.attempt('directory', { inode: number }, () => {
      const block = plain.block(this.#plain.place(directory, logical), number).slice();
      // Names that are encrypted are any bytes.
      if (hasFlag(directory, INODE_FLAG.encrypt)) verifyRecords(block, number, logical);
      else verifyEntries(block, { inode: number, logical, from: 0 });
      return block;
    });
    if (entries === undefined) return false;
    if (hasFlag(directory, INODE_FLAG.encrypt)) return this.#takeAll(number, entries);
    findings.attempt('directory-checksum', { inode: number }, () => {
      this.#sealed.check(directory, logical).verify(entries);
    });
    return this.#takeAll(number, entries);
  }

  #takeAll(number: number, entries: Uint8Array): true {
    const { findings } = this.#context;
    const seen = new Set<string>();
    for (let at = 0; at < entries.length; at += recordBytes(entries, at)) {
      const inode = u32(entries, at);
      if (inode === 0) continue;
      const nameAt = at + ENTRY_NAME_AT;
      const name = entries.subarray(nameAt, nameAt + (entries[at + 6] ?? 0));
      const text = Buffer.from(name).toString('latin1');
      if (seen.has(text)) {
        const said = `directory ${String(number)}: ${JSON.stringify(text)} is there twice`;
        findings.add('duplicate-name', said, { inode: number });
      }
      seen.add(text);
      this.#take(number, { inode, type: entryType(entries, at), name });
    }
    return true;
  }

  #take(directory: number, { inode, type, name }: Entry): void {
    const { kinds, names, parents, dots, findings, disk } = this.#context;
    const inside = inode <= disk.superblock.inodes && !this.#context.isOwn(inode);
    const kind = inside ? kinds.get(inode) : 0;
    const said = `directory ${String(directory)}: ${JSON.stringify(Buffer.from(name).toString())}`;
    if (kind === 0 || kind === KIND.value) {
      const text = `${said} leads to inode ${String(inode)}, which is no file`;
      findings.add('entry', text, { inode: directory });
      return;
    }
    names.set(inode, names.get(inode) + 1);
    const wanted = TYPES.get(kind);
    if (type !== 0 && wanted !== undefined && type !== wanted) {
      const text = `${said} says another type than inode ${String(inode)} has`;
      findings.add('entry', text, { inode: directory });
    }
    if (isDots(name)) {
      if (name.length === 2) dots.set(directory, inode);
      return;
    }
    if (kind !== KIND.directory) return;
    if (inode === ROOT_INODE || parents.get(inode) !== 0) {
      const text = `${said} is one more name of directory ${String(inode)}`;
      findings.add('entry', text, { inode: directory });
    } else parents.set(inode, directory);
  }
}
