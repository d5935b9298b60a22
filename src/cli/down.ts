/** `dvk down`: ends a DVS and removes everything of it, also what a crash left behind. */
import { Cluster } from './cluster.ts';
import { cleanDvs } from './leftovers.ts';
import { withLock } from './lock.ts';
import { output } from './output.ts';
import { readState, writeState, type DvsPaths } from './runtime.ts';
import { servicesOf } from './start-order.ts';

/** Ends a DVS. Returns false when there was none. */
export async function bringDown(paths: DvsPaths): Promise<boolean> {
  const done = await withLock(paths.lock, async () => {
    await endUnderLock(paths);
    return true;
  });
  return done ?? false;
}

/** The same, for those who hold the lock. */
export async function endUnderLock(paths: DvsPaths): Promise<void> {
  const state = readState(paths);
  if (state !== undefined) {
    writeState(paths, { ...state, state: 'stopping' });
    const cluster = await Cluster.connect(paths, state);
    const nodes = state.spec.nodes.map(({ id }) => id).filter((id) => cluster.has(id));
    if (nodes.length > 0) {
      await output.step('services stopped', async () => {
        await cluster.stopServices(servicesOf(state.spec));
        return undefined;
      });
      await output.step(`nodes ${nodes.join(', ')} stopped`, async () => {
        await cluster.stopNodes(nodes);
        return undefined;
      });
    }
    cluster.close();
  }
  await output.step('everything removed', async () => {
    const { processes, mounts } = await cleanDvs(paths);
    const found: string[] = [];
    if (processes > 0) found.push(`${String(processes)} leftover processes ended`);
    if (mounts.length > 0) found.push(`dead mounts taken away: ${mounts.join(', ')}`);
    return found.join('; ');
  });
}
