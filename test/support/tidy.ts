/**
 * Checks of the sources that no linter makes: sizes, words, links, dead files, modes.
 *
 * Each check takes files and returns what is wrong, one `path:line: sentence` each.
 */
import { dirname, join, normalize } from 'node:path';

export interface SourceFile {
  /** Relative to the root of the repository. */
  path: string;
  text: string;
  /** Git's mode, such as 100644. */
  mode: string;
  binary: boolean;
}

const LINE_MAX = 100;
const FILE_LINES_MAX = 600;

const isCode = (path: string): boolean =>
  /\.(ts|mjs|cc|h|c)$/.test(path) && !/\.gen\.(ts|h)$/.test(path);
const isMarkdown = (path: string): boolean => path.endsWith('.md');
const linesOf = (text: string): string[] => text.replace(/\n$/, '').split('\n');

function perLine(file: SourceFile, wrong: (line: string) => string | undefined): string[] {
  return linesOf(file.text).flatMap((line, index) => {
    const sentence = wrong(line);
    return sentence === undefined ? [] : [`${file.path}:${index + 1}: ${sentence}`];
  });
}

export function longLines(files: SourceFile[]): string[] {
  return files
    .filter((file) => isCode(file.path))
    .flatMap((file) =>
      perLine(file, (line) => {
        const length = Array.from(line).length;
        // An address cannot be broken.
        if (length <= LINE_MAX || /https?:\/\/\S{60}/.test(line)) return undefined;
        return `${length} columns, at most ${LINE_MAX}`;
      }),
    );
}

export function longFiles(files: SourceFile[]): string[] {
  return files
    .filter((file) => isCode(file.path))
    .map((file) => ({ path: file.path, lines: linesOf(file.text).length }))
    .filter(({ lines }) => lines > FILE_LINES_MAX)
    .map(({ path, lines }) => `${path}: ${lines} lines, at most ${FILE_LINES_MAX}: split it`);
}

interface BannedText {
  pattern: RegExp;
  instead: string;
  /** Files that it is banned in; all text files when absent. */
  where?: RegExp;
}

const BANNED: BannedText[] = [
  { pattern: /\b(FIXME|TODO|XXX)\b/, instead: 'do it, or file an issue' },
  { pattern: /not implemented/i, instead: 'say what is supported' },
  { pattern: /\bfor now\b/i, instead: 'say what holds, and when it changes' },
  { pattern: /(^|[\s'"`(=])\/(work|home)\/\w/, instead: 'use a relative path' },
  {
    pattern: /https?:\/\/(registry|npm|nexus|artifactory|mirror)[.-]/,
    instead: 'name no registry',
  },
  { pattern: /"resolved":/, instead: 'keep addresses out of the lock file', where: /lock\.json$/ },
  { pattern: /\bconsole\./, instead: 'use log, or cli/output', where: /^src\/.*\.ts$/ },
  {
    pattern: /['"`/]\w*\.node['"`]/,
    instead: 'only src/dvk/native.ts loads the addon',
    where: /^(src\/(?!dvk\/native\.ts$)|bench\/).*\.ts$/,
  },
];

/** This file and its test must write the words that they look for. */
const NAMES_BANNED_TEXT = /^test\/(support|unit\/support)\/tidy(\.test)?\.ts$|^LICENSE$/;

export function bannedText(files: SourceFile[]): string[] {
  return files
    .filter((file) => !file.binary && !NAMES_BANNED_TEXT.test(file.path))
    .flatMap((file) => {
      const rules = BANNED.filter(({ where }) => where === undefined || where.test(file.path));
      return perLine(file, (line) => {
        const rule = rules.find(({ pattern }) => pattern.test(line));
        return rule && `${JSON.stringify(rule.pattern.exec(line)?.[0].trim())}: ${rule.instead}`;
      });
    });
}

export function strayFiles(files: SourceFile[]): string[] {
  const left = /\.(bak|orig|rej|swp|log|o|a|so|zip|tgz)$|~$/;
  return [
    ...files.filter((file) => file.binary).map((file) => `${file.path}: binary; make it in a test`),
    ...files.filter(({ path }) => left.test(path)).map(({ path }) => `${path}: does not belong`),
  ];
}

/** Executable exactly when started by name: scripts with a `#!` line, but no TypeScript. */
export function wrongModes(files: SourceFile[]): string[] {
  return files.flatMap(({ path, mode, text }) => {
    const wanted = text.startsWith('#!') && !path.endsWith('.ts') ? '100755' : '100644';
    return mode === wanted ? [] : [`${path}: mode ${mode}, should be ${wanted}`];
  });
}

/** The lines of a markdown file outside fenced blocks, the others empty. */
function proseLines(text: string): string[] {
  let fenced = false;
  return linesOf(text).map((line) => {
    const fence = /^\s*(```|~~~)/.test(line);
    if (fence) fenced = !fenced;
    return fence || fenced ? '' : line;
  });
}

export function wrongTitles(files: SourceFile[]): string[] {
  return files
    .filter((file) => isMarkdown(file.path))
    .map(({ path, text }) => ({
      path,
      titles: proseLines(text).filter((line) => line.startsWith('# ')).length,
    }))
    .filter(({ titles }) => titles !== 1)
    .map(({ path, titles }) => `${path}: ${titles} titles, should be one`);
}

export function brokenLinks(files: SourceFile[]): string[] {
  const known = new Set(files.map((file) => file.path));
  const exists = (path: string): boolean =>
    path === '.' || known.has(path) || files.some((file) => file.path.startsWith(`${path}/`));
  return files
    .filter((file) => isMarkdown(file.path))
    .flatMap((file) =>
      perLine({ ...file, text: proseLines(file.text).join('\n') }, (line) => {
        const targets = [...line.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');
        const broken = targets
          .filter((target) => !/^([a-z]+:|#)/.test(target))
          .map((target) => target.replace(/#.*$/, ''))
          .find(
            (target) => !exists(normalize(join(dirname(file.path), target)).replace(/\/$/, '')),
          );
        return broken === undefined ? undefined : `link to ${broken} leads nowhere`;
      }),
    );
}

/** Modules that are started or published rather than imported. */
const ENTRIES = /(^|\/)(main|generate)\.ts$|^src\/dvk\/index\.ts$/;

/** Modules of src that no module names in an import, a dynamic import or a `new URL`. */
export function deadModules(files: SourceFile[]): string[] {
  const named = new Set(
    files
      .filter((file) => file.path.endsWith('.ts'))
      .flatMap((file) =>
        [...file.text.matchAll(/['"](\.{1,2}\/[^'"]+)['"]/g)].map((match) =>
          normalize(join(dirname(file.path), match[1] ?? '')).replace(/\.js$/, '.ts'),
        ),
      ),
  );
  return files
    .filter(({ path }) => /^src\/.*\.ts$/.test(path) && !ENTRIES.test(path) && !named.has(path))
    .map(({ path }) => `${path}: imported by nobody`);
}

/** C++ sources that binding.gyp does not build, and headers that nobody includes. */
export function deadNativeFiles(files: SourceFile[]): string[] {
  const native = files.filter(({ path }) => path.startsWith('native/'));
  const gyp = native.find(({ path }) => path.endsWith('binding.gyp'))?.text ?? '';
  const included = new Set(
    files
      .filter(({ path }) => /\.(cc|h|c)$/.test(path))
      .flatMap(({ text }) =>
        [...text.matchAll(/^#include "([^"]+)"/gm)].map((match) => match[1]?.split('/').at(-1)),
      ),
  );
  return native.flatMap(({ path }) => {
    const name = path.split('/').at(-1) ?? '';
    const source = path.replace('native/', '');
    const named = gyp.includes(source) || gyp.includes(source.replace(/[^/]+$/, '*.cc'));
    if (path.endsWith('.cc') && gyp !== '' && !named) return [`${path}: not in binding.gyp`];
    // The C interface is there for programs outside.
    const unused =
      path.endsWith('.h') && !path.startsWith('native/include/') && !included.has(name);
    return unused ? [`${path}: included by nobody`] : [];
  });
}
