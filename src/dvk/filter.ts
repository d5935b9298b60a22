/** Which messages a process takes now, see `Process.setFilter`. */
import type { Endpoint } from './endpoint.ts';

const MATCH_SOURCE = 1;
const MATCH_TYPE = 2;

/** Matches messages of `source`, with `type`, or both; a notification has NOTIFY_TYPE. */
export type FilterRule = { source: Endpoint; type?: number } | { source?: Endpoint; type: number };

/** Lets those messages pass that match one of the rules, or those that match none. At most 8. */
export type Filter = { allow: readonly FilterRule[] } | { deny: readonly FilterRule[] };

/** The rules as the addon takes them: what each one matches, the source, the type. */
export function wordsOf(filter: Filter): Int32Array {
  const rules = 'allow' in filter ? filter.allow : filter.deny;
  const words = rules.flatMap(({ source, type }) => [
    (source === undefined ? 0 : MATCH_SOURCE) | (type === undefined ? 0 : MATCH_TYPE),
    source ?? 0,
    type ?? 0,
  ]);
  return Int32Array.from(words);
}
