/**
 * Reads values out of a YAML document and collects what is wrong with it, each problem with line,
 * key and remedy.
 *
 * The reader never throws on bad content: a value that cannot be read is reported and comes back
 * undefined, so that one pass finds every problem. `finish` throws a SpecError when there were any.
 */
import { isIP } from 'node:net';

import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Node,
} from 'yaml';

import { isInterfaceName, parseMac } from '../dvk/ethernet.ts';

export interface Address {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** An interface of a node's host, and its own address, as 02:00:00:00:00:01, when it is given. */
export interface EthernetPlace {
  readonly interface: string;
  readonly address?: string;
}

/** One thing that is wrong: where, what, and what to do about it. */
export interface Problem {
  readonly line: number;
  /** The key, as `containers[0].services[1].node`; empty for the document itself. */
  readonly path: string;
  readonly what: string;
  readonly remedy: string;
}

/** A spec that cannot be used. Its message has one line for each problem. */
export class SpecError extends Error {
  override readonly name = 'SpecError';
  readonly file: string;
  readonly problems: readonly Problem[];

  constructor(file: string, problems: readonly Problem[]) {
    super(problems.map((problem) => formatProblem(file, problem)).join('\n'));
    this.file = file;
    this.problems = problems;
  }
}

function formatProblem(file: string, { line, path, what, remedy }: Problem): string {
  const key = path === '' ? '' : `key ${path}: `;
  return `${file}:${String(line)}: ${key}${what}; ${remedy}`;
}

/**
 * A value in the document: its key, and its node (undefined when nothing was written after the
 * key).
 */
export interface Place {
  readonly path: string;
  readonly line: number;
  readonly node: Node | undefined;
}

/** The keys that a map may have. */
export type KeyTable = Readonly<Record<string, { readonly required?: true; readonly doc: string }>>;

/** The values of a map, by key; a key that is absent gives undefined. */
export type Fields = ReadonlyMap<string, Place>;

/** Names are used in file names and in the segment, where 15 bytes have room. */
const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_-]{0,14}$/;
export const NAME_RULE = 'use 1 to 15 letters, digits, - and _, a letter or digit first';

/** Whether `text` can be the name of a DVS, node, container or service. */
export function isName(text: string): boolean {
  return NAME_PATTERN.test(text);
}

const SPEC_BYTES_MAX = 1 << 18;
// A spec has six levels. The YAML parser recurses, and thousands of levels end the whole process.
const NESTING_MAX = 64;
const PROBLEMS_MAX = 20;

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

/** Bytes of a size such as `256 MiB`, `64MB` or `4096`; undefined when it is no size. */
export function parseSize(text: string): number | undefined {
  const match = /^\s*(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]{0,3})\s*$/.exec(text);
  const unit = UNITS[(match?.[2] ?? '?').toLowerCase()];
  if (match?.[1] === undefined || unit === undefined) return undefined;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The candidate that `word` was probably meant to be, or undefined. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.ceil(word.length / 2));
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

// Levenshtein's distance, one row at a time. Long words are no typing mistakes, and are not
// compared.
function editDistance(a: string, b: string): number {
  if (a.length > 32 || Math.abs(a.length - b.length) > 3) return 99;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 99;
}

/** HOST:PORT, with brackets around an IPv6 address. */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
}

function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]{1,253})):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65535) return undefined;
  return match?.[1] !== undefined && isIP(host) !== 6 ? undefined : { host, port };
}

function parseEthernet(text: string): EthernetPlace | undefined {
  const [name = '', address, ...more] = text.split('/');
  if (!isInterfaceName(name) || more.length > 0) return undefined;
  if (address === undefined) return { interface: name };
  return parseMac(address) === undefined ? undefined : { interface: name, address };
}

/**
 * The first line that opens more levels than any spec has; a rough look, which also counts inside
 * of quotes.
 */
function tooDeep(text: string): number | undefined {
  let depth = 0;
  for (const [index, line] of text.split(/\r\n?|\n/).entries()) {
    const head = /^[^[{"'#]*/.exec(line)?.[0] ?? '';
    if ((head.match(/[-?:][ \t]/g)?.length ?? 0) > NESTING_MAX) return index + 1;
    for (const character of line) {
      if (character === '[' || character === '{') depth++;
      if ((character === ']' || character === '}') && depth > 0) depth--;
      if (depth > NESTING_MAX) return index + 1;
    }
  }
  return undefined;
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export class SpecReader {
  readonly file: string;
  readonly problems: Problem[] = [];
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed | undefined;

  constructor(file: string, text: string) {
    this.file = file;
    if (text.length > SPEC_BYTES_MAX) {
      this.report(
        { path: '', line: 1 },
        'the spec is larger than 256 KiB',
        'is it the right file?',
      );
      return;
    }
    const deep = tooDeep(text);
    if (deep !== undefined) {
      this.report({ path: '', line: deep }, 'it is nested too deeply', 'is it the right file?');
      return;
    }
    this.#document = this.#parse(text);
  }

  #parse(text: string): Document.Parsed | undefined {
    try {
      const document = parseDocument(text, {
        lineCounter: this.#lines,
        prettyErrors: false,
        stringKeys: true,
        logLevel: 'error',
      });
      for (const error of [...document.errors, ...document.warnings].slice(0, PROBLEMS_MAX)) {
        const line = this.#lineAt(error.pos[0]);
        const what = error.message.replaceAll(/\s+/g, ' ').replace(/[.:;]+ ?$/, '');
        this.report({ path: '', line }, `not valid YAML: ${what}`, 'correct the syntax here');
      }
      return document.errors.length === 0 ? document : undefined;
    } catch {
      this.report({ path: '', line: 1 }, 'not readable as YAML', 'is it the right file?');
      return undefined;
    }
  }

  #lineAt(offset: number): number {
    return Math.max(1, this.#lines.linePos(offset).line);
  }

  #place(path: string, value: unknown, fallbackLine: number): Place {
    const node = value as Node | null | undefined;
    const line = node?.range ? this.#lineAt(node.range[0]) : fallbackLine;
    // They could contain themselves, and stand for far more text than was written.
    if (isAlias(node)) this.report({ path, line }, 'aliases are not read', 'write the value out');
    return { path, line, node: node ?? undefined };
  }

  report(at: { path: string; line: number }, what: string, remedy: string): void {
    if (this.problems.length >= PROBLEMS_MAX) return;
    this.problems.push({ path: at.path, line: at.line, what, remedy });
  }

  /** Throws when anything was reported; to be called after the last value was read. */
  finish(): void {
    if (this.problems.length === 0) return;
    throw new SpecError(
      this.file,
      this.problems.toSorted((a, b) => a.line - b.line),
    );
  }

  root(): Place {
    return this.#place('', this.#document?.contents, 1);
  }

  /** The values of a map; reports keys that are not in `table`, and missing ones. */
  fields(at: Place, table: KeyTable): Fields {
    const found = new Map<string, Place>();
    if (!isMap(at.node)) {
      this.report(at, 'this is not a map', `write "key: value" lines (${keysOf(table)})`);
      return found;
    }
    for (const pair of at.node.items) {
      const keyNode = pair.key as Node;
      const key = isScalar(keyNode) ? String(keyNode.value) : '?';
      const path = at.path === '' ? key : `${at.path}.${key}`;
      const keyPlace = this.#place(path, keyNode, at.line);
      if (Object.hasOwn(table, key)) {
        found.set(key, this.#place(path, pair.value, keyPlace.line));
      } else {
        const guess = closest(key, Object.keys(table));
        const remedy = guess === undefined ? `the keys are ${keysOf(table)}` : `write ${guess}`;
        this.report(keyPlace, 'there is no such key', remedy);
      }
    }
    for (const [key, { required, doc }] of Object.entries(table)) {
      if (required === true && !found.has(key)) {
        this.report(at, `${key} is missing`, `add "${key}: ..." (${doc})`);
      }
    }
    return found;
  }

  /** The elements of a list; `what` names them for the error message. */
  list(at: Place | undefined, what: string): Place[] {
    if (at === undefined) return [];
    if (!isSeq(at.node)) {
      this.report(at, 'this is not a list', `write one "- ..." for each of the ${what}`);
      return [];
    }
    return at.node.items.map((item, index) =>
      this.#place(`${at.path}[${String(index)}]`, item, at.line),
    );
  }

  #scalar(at: Place, wanted: string): unknown {
    if (isScalar(at.node) && at.node.value !== null) return at.node.value;
    const what = at.node === undefined || isScalar(at.node) ? 'it has no value' : 'not one value';
    this.report(at, what, `give ${wanted}`);
    return undefined;
  }

  text(at: Place | undefined, wanted: string): string | undefined {
    if (at === undefined) return undefined;
    const value = this.#scalar(at, wanted);
    if (value === undefined) return undefined;
    if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value;
    const remedy = typeof value === 'string' ? `give ${wanted}` : `give ${wanted} in quotes`;
    this.report(at, `${shown(value)} is no text`, remedy);
    return undefined;
  }

  /** A name of a DVS, node, container or service. */
  name(at: Place | undefined): string | undefined {
    const value = this.text(at, 'a name');
    if (at === undefined || value === undefined) return undefined;
    if (isName(value)) return value;
    this.report(at, `${shown(value)} is not usable as a name`, NAME_RULE);
    return undefined;
  }

  integer(at: Place | undefined, [min, max]: readonly [number, number]): number | undefined {
    if (at === undefined) return undefined;
    const wanted = `a whole number from ${String(min)} to ${String(max)}`;
    const value = this.#scalar(at, wanted);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
      return value;
    }
    this.report(at, `${shown(value)} is out of range or no number`, `give ${wanted}`);
    return undefined;
  }

  flag(at: Place | undefined): boolean | undefined {
    if (at === undefined) return undefined;
    const value = this.#scalar(at, 'true or false');
    if (typeof value === 'boolean' || value === undefined) return value;
    this.report(at, `${shown(value)} is neither true nor false`, 'write true or false');
    return undefined;
  }

  size(at: Place | undefined, [min, max]: readonly [number, number]): number | undefined {
    if (at === undefined) return undefined;
    const value = this.#scalar(at, 'a size, as 256 MiB');
    if (value === undefined) return undefined;
    const bytes =
      typeof value === 'boolean' ? undefined : parseSize(shown(value).replaceAll('"', ''));
    if (bytes !== undefined && bytes >= min && bytes <= max) return bytes;
    const remedy = `give a size from ${formatSize(min)} to ${formatSize(max)}, as 256 MiB`;
    this.report(at, `${shown(value)} is no size that fits here`, remedy);
    return undefined;
  }

  address(at: Place | undefined): Address | undefined {
    const text = this.text(at, 'HOST:PORT, as 127.0.0.1:0');
    if (at === undefined || text === undefined) return undefined;
    const address = parseAddress(text);
    if (address === undefined) {
      this.report(at, `${shown(text)} is no address`, 'write it as 127.0.0.1:7000');
    }
    return address;
  }

  ethernet(at: Place | undefined): EthernetPlace | undefined {
    const text = this.text(at, 'an interface, as eth1');
    if (at === undefined || text === undefined) return undefined;
    const place = parseEthernet(text);
    if (place === undefined) {
      const remedy = 'write it as eth1, or as eth1/02:00:00:00:00:01 with its own address';
      this.report(at, `${shown(text)} is no interface`, remedy);
    }
    return place;
  }

  choice<T extends string>(at: Place | undefined, choices: readonly T[]): T | undefined {
    const value = this.text(at, `one of ${choices.join(', ')}`);
    if (at === undefined || value === undefined) return undefined;
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    const guess = closest(value, choices);
    const remedy = guess === undefined ? `use one of ${choices.join(', ')}` : `write ${guess}`;
    this.report(at, `${shown(value)} is not known`, remedy);
    return undefined;
  }

  /** Reports `value` when it was given before; `what` is its role, as "node id". */
  unique<T>(seen: Map<T, Place>, value: T | undefined, at: Place | undefined, what: string): void {
    if (value === undefined || at === undefined) return;
    const first = seen.get(value);
    if (first === undefined) {
      seen.set(value, at);
      return;
    }
    const where = `${first.path} in line ${String(first.line)}`;
    this.report(at, `${what} ${String(value)} is taken by ${where}`, 'choose another one');
  }
}

function keysOf(table: KeyTable): string {
  return Object.keys(table).join(', ');
}

/** A size for people: the largest unit that gives a short number. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = Number.isInteger(value) || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit] ?? ''}`;
}
