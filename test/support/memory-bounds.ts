/** How much memory the parts of a DVS may take, whatever programs do (docs/file-system.md). */
import type { MountedDvs, ServiceName } from './mounted-dvs.ts';

/** With what they share, as the cache of 64 MiB and the code of Node.js. */
const MIB_MAX: Readonly<Record<ServiceName, number>> = { fs: 640, here: 448, there: 448 };

/** Those that took more, a line each. */
export async function beyondBounds(dvs: MountedDvs): Promise<string[]> {
  const peaks = await dvs.peakMiB();
  return (Object.keys(MIB_MAX) as ServiceName[])
    .filter((name) => peaks[name] > MIB_MAX[name])
    .map((name) => `${name}: ${String(peaks[name])} MiB, of ${String(MIB_MAX[name])}`);
}
