/**
 * How a client takes back from a new server what it had of the old one, and learns what was lost.
 *
 * Calls wait meanwhile, so nothing is added to what the client has; it may give something up. See
 * `src/servers/fs/survivors.ts` for the other side.
 */
import { constants } from 'node:os';
import { LockCommand, OpenFlag, encodeChange } from '../protocol/fs-change.ts';
import type { FsChange } from '../protocol/fs-change.ts';
import { FsCall, decodeAttributes } from '../protocol/fs.ts';
import type { Answer, Call } from './channels.ts';
import type { HeldFile, HeldFiles } from './held-files.ts';
import type { ChangedNames } from './changed-names.ts';
import { hasWrite } from './held-files.ts';

const { ESTALE } = constants.errno;

type Attempt = (call: Call) => Promise<Answer>;

/** What a client has of a server. */
export interface Belongings {
  readonly client: number;
  readonly held: HeldFiles;
  readonly names: ChangedNames;
}

/** When this returns, the server knows of everything in `held`. Rejects as `attempt` does. */
export async function rejoin({ client, held, names }: Belongings, attempt: Attempt): Promise<void> {
  const told = new Map<number, number>();
  await ask(names, { client, attempt });
  await tellHolds(held, told, { client, attempt });
  for (const { file, lock } of held.locks) {
    const { kind: lockKind, type: lockType, start, end, owner, pid } = lock;
    const range = { lockKind, lockType, start, end, owner, pid };
    const { inode, generation } = file;
    const lockCommand = LockCommand.RECLAIM;
    const request = { call: FsCall.LOCK, inode, generation, client, lockCommand, ...range };
    const { result } = await attempt(encoded(request));
    if (result < 0) held.loseLock(file, lock);
  }
  await attempt(encoded({ call: FsCall.REJOINED, client }));
  await tellHolds(held, told, { client, attempt });
}

interface Teller {
  readonly client: number;
  readonly attempt: Attempt;
}

/** Goes on until `told`, the holds of each file that the server knows of, is what there is. */
async function tellHolds(
  held: HeldFiles,
  told: Map<number, number>,
  { client, attempt }: Teller,
): Promise<void> {
  for (let isNews = true; isNews;) {
    isNews = false;
    for (const file of held.files) {
      const { inode, generation, count } = file;
      if (count === 0 || told.get(inode) === count) continue;
      isNews = true;
      told.set(inode, count);
      const flags = OpenFlag.RECLAIM;
      const request = { call: FsCall.OPEN, inode, generation, client, count, flags };
      settle(file, await attempt(encoded(request)));
    }
    for (const [inode, count] of told) {
      if (held.find({ inode }) !== undefined) continue;
      isNews = true;
      told.delete(inode);
      await attempt(encoded({ call: FsCall.RELEASE, inode, client, count }));
    }
  }
}

/** Whether directories have the names that they were given. */
async function ask(names: ChangedNames, { client, attempt }: Teller): Promise<void> {
  for (const directory of names.directories) {
    const { inode, generation } = directory;
    const flags = OpenFlag.LOOK;
    const request = { call: FsCall.OPEN, inode, generation, client, count: 0, flags };
    const { result, message } = await attempt(encoded(request));
    if (result === -ESTALE) names.gone(directory);
    else names.settle(directory, result === 0 ? decodeAttributes(message).changed : undefined);
  }
}

/** Whether the file has what was written to it. */
function settle(file: HeldFile, { result, message }: Answer): void {
  if (result < 0) {
    file.lost = true;
  } else if (file.unsynced !== undefined) {
    const tells = result === 0;
    if (!tells || !hasWrite(decodeAttributes(message).changed, file.unsynced)) file.lost = true;
    file.unsynced = undefined;
  }
}

function encoded(request: Partial<FsChange> & { readonly call: FsCall }): Call {
  return {
    encode: (message, { sequence }) => {
      encodeChange(message, { ...request, sequence });
    },
    needsMemory: false,
    repeatable: true,
  };
}
