/** Programs of the system, also where an ordinary user's PATH does not look. */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

const SYSTEM_PLACES = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** The path of a program; undefined when there is none. */
export function findProgram(
  name: string,
  path: string = process.env['PATH'] ?? '',
): string | undefined {
  for (const place of [...path.split(':'), ...SYSTEM_PLACES]) {
    if (place === '') continue;
    const candidate = join(place, name);
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not here.
    }
  }
  return undefined;
}
