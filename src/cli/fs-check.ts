/**
 * `dvk fs check`: our own check of a volume, and e2fsck's, side by side. Only e2fsck repairs.
 *
 * Exit code 0: the volume is sound, or was made so; 4: errors are left, as fsck(8) has it.
 */
import { crc32c } from '../dvk/index.ts';
import { checkVolume, type CheckReport } from '../servers/fs/check/check.ts';
import type { Phase } from '../servers/fs/check/context.ts';
import { FINDING, type FindingKind } from '../servers/fs/check/findings.ts';
import type { ImageFile } from '../servers/fs/device.ts';
import { INCOMPAT, u32 } from '../servers/fs/ext4/layout.ts';
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from '../servers/fs/ext4/superblock.ts';
import { kindsIn } from './fs-e2fsck.ts';
import { runTool, tool, withImage } from './fs-tools.ts';
import { CliError, output } from './output.ts';
import { findProgram } from './programs.ts';

export interface CheckFlags {
  readonly repair?: boolean;
  readonly json?: boolean;
}

/** Errors are left on the volume. */
const EXIT_ERRORS = 4;
/** Of e2fsck: nothing was wrong, something was repaired, errors are left. */
const E2FSCK = { CLEAN: 0, REPAIRED: 1, REBOOT: 2, ERRORS: 4 } as const;
const SHOWN_MAX = 20;

/** What e2fsck said. */
interface Theirs {
  readonly status: number;
  readonly kinds: readonly FindingKind[];
  readonly lines: readonly string[];
}

export async function checkImage(path: string, { repair, json }: CheckFlags): Promise<void> {
  const program = repair === true ? tool('e2fsck') : findProgram('e2fsck');
  const access = repair === true ? 'write' : 'read';
  await withImage(path, access, async (image) => {
    const first = look(image);
    const needsReplay = hasOpenJournal(image);
    // What e2fsck -n says of a volume whose journal is not replayed is of no meaning.
    const asked = program !== undefined && (repair === true || !needsReplay);
    const theirs = asked ? await askE2fsck(program, image.path, repair === true) : undefined;
    const last = repair === true ? look(image) : first;
    const sound = isSound(last) && (repair === true || theirs === undefined || isClean(theirs));
    const repaired = repair === true && theirs !== undefined && !isClean(theirs);
    const result = { first, last, theirs, repaired, sound, needsReplay };
    if (json === true) output.json(asJson(path, result));
    else show(path, result, program !== undefined);
    if (!sound) process.exitCode = EXIT_ERRORS;
  });
}

interface Result {
  readonly first: CheckReport;
  readonly last: CheckReport;
  readonly theirs: Theirs | undefined;
  readonly repaired: boolean;
  readonly sound: boolean;
  readonly needsReplay: boolean;
}

function look(image: ImageFile): CheckReport {
  const onProgress = (phase: Phase, done: number, total: number): void => {
    const percent = total === 0 ? 100 : Math.floor((100 * done) / total);
    output.progress(`check of ${phase}  ${String(percent)} %`);
  };
  const report = checkVolume(image, { crc32c: rawCrc32c, onProgress });
  output.progress('check');
  return report;
}

/** CRC32C as ext4 has it: the register goes in and comes out without inversion. */
export function rawCrc32c(data: Uint8Array, seed: number): number {
  return ~crc32c(data, ~seed >>> 0) >>> 0;
}

function isSound({ counts }: CheckReport): boolean {
  return counts.size === 0;
}

function hasOpenJournal(image: ImageFile): boolean {
  if (image.bytes < SUPERBLOCK_AT + SUPERBLOCK_BYTES) return false;
  const raw = new Uint8Array(SUPERBLOCK_BYTES);
  image.read(raw, SUPERBLOCK_AT, raw.length);
  return (u32(raw, 0x60) & INCOMPAT.recover) !== 0;
}

async function askE2fsck(program: string, path: string, repair: boolean): Promise<Theirs> {
  const title = repair ? 'e2fsck repairs' : 'e2fsck';
  const args = ['-f', repair ? '-y' : '-n', '-C', '3', path];
  const { status, text } = await runTool(program, args, { title, progress: true });
  const known = E2FSCK.REPAIRED | E2FSCK.REBOOT | E2FSCK.ERRORS;
  if ((status & ~known) !== 0 && kindsIn(text).length === 0) {
    throw new CliError(`e2fsck ended with code ${String(status)}: ${text}`);
  }
  const lines = text.split('\n').filter((line) => line !== '' && !isChatter(line));
  return { status, kinds: kindsIn(text), lines };
}

/** What e2fsck says of any volume. */
function isChatter(line: string): boolean {
  return /^(e2fsck \d|Pass \d|Fix\?|Clear\?|\s*$)/.test(line) || /: \d+\/\d+ files/.test(line);
}

/** What it passes over without a question, as checksums of descriptors, leaves its code at 0. */
function isClean({ status, kinds }: Theirs): boolean {
  return status === E2FSCK.CLEAN && kinds.length === 0;
}

/** Whether both found something, or both nothing. */
function agree({ first, theirs }: Result): boolean | null {
  return theirs === undefined ? null : isSound(first) === isClean(theirs);
}

function asJson(path: string, result: Result): unknown {
  const { first, last, theirs, repaired, sound, needsReplay } = result;
  return {
    image: path,
    sound,
    repaired,
    needsReplay,
    agree: agree(result),
    ours: ours(first),
    ...(last === first ? {} : { after: ours(last) }),
    e2fsck: theirs ?? null,
  };
}

function ours({ findings, counts, replayed, inodes, directories, orphans }: CheckReport): unknown {
  return { kinds: Object.fromEntries(counts), findings, replayed, inodes, directories, orphans };
}

function show(path: string, result: Result, hasE2fsck: boolean): void {
  const { first, last, theirs, repaired, sound, needsReplay } = result;
  const files = `${String(first.inodes)} inodes, ${String(first.directories)} directories`;
  output.line(`${path}: ${files}`);
  if (first.replayed > 0) {
    output.line(`  the journal holds ${String(first.replayed)} transactions that are not in place`);
  }
  if (first.orphans > 0)
    output.line(`  ${String(first.orphans)} files without a name are to be freed`);
  showFindings(first);
  showTheirs(theirs, { hasE2fsck, needsReplay });
  if (agree(result) === false) output.note('  the two checks do not agree', 'yellow');
  if (repaired) output.line('  repaired by e2fsck');
  if (repaired && !isSound(last)) {
    output.line('after the repair:');
    showFindings(last);
  }
  output.line(sound ? 'sound' : 'errors are left; `dvk fs check --repair` repairs what can be');
}

function showFindings({ counts, findings }: CheckReport): void {
  for (const [kind, count] of counts) {
    output.line(`  ${kind}: ${FINDING[kind]}${count > 1 ? ` (${String(count)} times)` : ''}`);
    const own = findings.filter((finding) => finding.kind === kind);
    for (const { text } of own.slice(0, SHOWN_MAX)) output.line(`    ${text}`);
    if (count > SHOWN_MAX) output.line(`    and ${String(count - SHOWN_MAX)} more`);
  }
}

function showTheirs(
  theirs: Theirs | undefined,
  { hasE2fsck, needsReplay }: { hasE2fsck: boolean; needsReplay: boolean },
): void {
  if (theirs === undefined) {
    const why = needsReplay ? 'the journal is to be replayed first' : 'it is not installed';
    if (!hasE2fsck || needsReplay) output.line(`  e2fsck was not asked: ${why}`);
    return;
  }
  if (isClean(theirs)) return;
  output.line(`  e2fsck says (code ${String(theirs.status)}):`);
  for (const line of theirs.lines.slice(0, SHOWN_MAX)) output.line(`    ${line}`);
  const more = theirs.lines.length - SHOWN_MAX;
  if (more > 0) output.line(`    and ${String(more)} lines more`);
}
