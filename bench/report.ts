/**
 * What a bench prints: a table for people, or one JSON document. The only writer of bench/.
 *
 * The document is
 * `{"bench","fresh","commit","node","kernel","cpu","cores","rows":[...],"bars":[...]}`; what does
 * not apply is left out.
 */
import { companion, RUNS_MIN, type Bar, type Verdict } from './bars.ts';
import { messagesOf, type Row, type Unit } from './harness.ts';
import type { Machine } from './machine.ts';
import { ratioOf } from './statistics.ts';

export interface Report {
  readonly bench: string;
  /** Whether Node programs were started anew for each run. */
  readonly fresh: boolean;
  readonly machine: Machine;
  readonly rows: readonly Row[];
  readonly verdicts: readonly Verdict[];
  /** Cases that the others are compared with. */
  readonly baselines: readonly string[];
}

/** A row as the document has it. */
export type ReportedRow = Omit<Row, 'samples'> & {
  /** Two messages a round trip, as the authors of M3-IPC count. */
  readonly messages_per_second?: number;
  /** How many times each baseline the case is. */
  readonly ratios: Readonly<Record<string, number>>;
};

/** A verdict as the document has it. */
export type ReportedBar = Bar & {
  /** Median, least and greatest of the runs. */
  readonly measured: number;
  readonly min: number;
  readonly max: number;
  readonly against?: string;
  readonly runs: number;
  readonly met: boolean;
};

export interface ReportDocument extends Machine {
  readonly bench: string;
  readonly fresh?: true;
  readonly rows: readonly ReportedRow[];
  readonly bars: readonly ReportedBar[];
}

const SIGNIFICANT_DIGITS = 4;

/** Few digits, so that nobody takes noise for a result. */
function rounded(value: number): number {
  return Number(value.toPrecision(SIGNIFICANT_DIGITS));
}

export function ratiosOf(report: Report, row: Row): Record<string, number> {
  const ratios: Record<string, number> = {};
  for (const name of report.baselines) {
    const baseline = companion(report.rows, row, name);
    if (baseline !== undefined && name !== row.case) {
      ratios[name] = rounded(ratioOf(row.samples, baseline.samples));
    }
  }
  return ratios;
}

/** The fields that are measured, of a row that has them all or not. */
const MEASURED = ['p50_us', 'p99_us', 'p999_us', 'max_us', 'cpu_us', 'timers_fired'] as const;

function reportedRow(report: Report, row: Row): ReportedRow {
  const { samples: _, ...kept } = row;
  const measured: Partial<Record<(typeof MEASURED)[number], number>> = {};
  for (const name of MEASURED) {
    const value = row[name];
    if (value !== undefined) measured[name] = rounded(value);
  }
  const messages = messagesOf(row.unit) * row.median;
  return {
    ...kept,
    median: rounded(row.median),
    min: rounded(row.min),
    max: rounded(row.max),
    ...measured,
    ...(carriesMessages(row.unit) && { messages_per_second: rounded(messages) }),
    ratios: ratiosOf(report, row),
  };
}

function carriesMessages(unit: Unit): boolean {
  return unit !== 'operations/s' && unit !== 'bytes/s' && unit !== 'percent';
}

function reportedBar({ bar, median, min, max, ...kept }: Verdict): ReportedBar {
  return { ...bar, measured: rounded(median), min: rounded(min), max: rounded(max), ...kept };
}

export function documentOf(report: Report): ReportDocument {
  const rows = report.rows.map((row) => reportedRow(report, row));
  const bars = report.verdicts.map(reportedBar);
  const { bench, fresh, machine } = report;
  return { bench, ...(fresh && { fresh }), ...machine, rows, bars };
}

/** `1.23 M`: three digits and a decimal prefix; two digits of what is below a tenth. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) < 0.0995) return String(Number(value.toPrecision(2)));
  const prefixes = ['', ' k', ' M', ' G', ' T'];
  let step = 0;
  let scaled = value;
  while (Math.abs(scaled) >= 999.5 && step < prefixes.length - 1) {
    scaled /= 1000;
    step++;
  }
  const digits = Math.abs(scaled) >= 99.5 ? 0 : Math.abs(scaled) >= 9.95 ? 1 : 2;
  const whole = step === 0 && Number.isInteger(scaled);
  return `${scaled.toFixed(whole ? 0 : digits)}${prefixes[step] ?? ''}`;
}

/** `64 KiB`, `1 MiB`. */
export function formatBytes(bytes: number): string {
  const mebi = bytes / 2 ** 20;
  if (Number.isInteger(mebi)) return `${String(mebi)} MiB`;
  const kibi = bytes / 2 ** 10;
  return Number.isInteger(kibi) ? `${String(kibi)} KiB` : `${String(bytes)} B`;
}

/** Lines of columns; the first column stands to the left, the others to the right. */
export function formatTable(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((line) => (line[column] ?? '').length)),
  );
  return lines
    .map((line) =>
      line
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return column === 0 ? cell.padEnd(width) : cell.padStart(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Rows of one placement, number of pairs and size, in the order of measuring. */
export function groupsOf(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const parts = [
      row.op,
      row.placement,
      row.pairs === undefined || row.pairs === 1 ? undefined : `${String(row.pairs)} pairs`,
      row.bytes === undefined ? undefined : formatBytes(row.bytes),
    ];
    const title = parts.filter((part) => part !== undefined).join(', ');
    groups.set(title, [...(groups.get(title) ?? []), row]);
  }
  return groups;
}

const UNIT_TITLES: Readonly<Record<Unit, string>> = {
  'round-trips/s': 'round trips/s',
  'messages/s': 'messages/s',
  'notifications/s': 'notifications/s',
  'operations/s': 'operations/s',
  'bytes/s': 'bytes/s',
  percent: 'percent of CPU',
};

/** What the numbers of these rows are. */
export function unitTitle(rows: readonly Row[]): string {
  const units = new Set(rows.map(({ unit }) => unit));
  const [only] = units;
  return units.size === 1 && only !== undefined ? UNIT_TITLES[only] : 'per second';
}

export function titleOf(row: Row): string {
  return row.variant === undefined ? row.case : `${row.case} (${row.variant})`;
}

/** The columns of latency and CPU time: those that any row has. */
function measuredColumns(rows: readonly Row[]): [title: string, value: (row: Row) => number][] {
  const message = rows.some(({ unit }) => carriesMessages(unit)) ? '/message' : '';
  const columns: [string, (row: Row) => number | undefined][] = [
    ['p50 us', (row) => row.p50_us],
    ['p99 us', (row) => row.p99_us],
    ['p99.9 us', (row) => row.p999_us],
    ['max us', (row) => row.max_us],
    [`CPU us${message}`, (row) => row.cpu_us],
  ];
  return columns
    .filter(([, value]) => rows.some((row) => value(row) !== undefined))
    .map(([title, value]) => [title, (row) => value(row) ?? Number.NaN]);
}

function groupTable(report: Report, title: string, rows: readonly Row[]): string {
  const measured = measuredColumns(rows);
  const baselines = report.baselines.filter((name) =>
    rows.some((row) => ratiosOf(report, row)[name] !== undefined),
  );
  const heading = [
    ...[title, unitTitle(rows), 'min', 'max'],
    ...measured.map(([name]) => name),
    ...baselines.map((name) => `x ${name}`),
  ];
  const lines = rows.map((row) => {
    const ratios = ratiosOf(report, row);
    const numbers = [row.median, row.min, row.max, ...measured.map(([, value]) => value(row))];
    return [
      titleOf(row),
      ...numbers.map(formatNumber),
      ...baselines.map((name) => {
        const ratio = ratios[name];
        return ratio === undefined ? '' : formatNumber(ratio);
      }),
    ];
  });
  return formatTable([heading, ...lines]);
}

function subjectOf({ placement, pairs, bytes, op, ...bar }: Bar): string {
  const where = [
    op,
    placement,
    pairs === undefined ? undefined : `${String(pairs)} pairs`,
    bytes === undefined ? undefined : formatBytes(bytes),
  ];
  return `${bar.case} (${where.filter((part) => part !== undefined).join(', ')})`;
}

/** What a bar asks for: of which case, and how much. */
function promiseOf({ bar, against = '' }: Verdict): { of: string; promise: string } {
  if ('baseline' in bar) {
    const pairs = bar.baselinePairs === undefined ? '' : ` with ${String(bar.baselinePairs)}`;
    const calls = bar.calls === undefined ? '' : `, ${String(bar.calls)} calls a trip`;
    return { of: ` times ${against}${pairs}${calls}`, promise: String(bar.atLeast) };
  }
  return bar.value === 'timers_fired'
    ? { of: ' of its timers fired', promise: String(bar.atLeast) }
    : { of: ' percent', promise: `at most ${String(bar.atMost)}` };
}

export function verdictLine(verdict: Verdict): string {
  const { bar, median, min, max, met, runs } = verdict;
  const { of, promise } = promiseOf(verdict);
  const spread = `${formatNumber(min)} to ${formatNumber(max)}`;
  const few = runs < RUNS_MIN ? `; ${String(runs)} runs, too few to count` : '';
  const measured = `${formatNumber(median)}${of} (${spread})`;
  return `${met ? 'met   ' : 'MISSED'}  ${subjectOf(bar)}: ${measured}; promised: ${promise}${few}`;
}

/** What was measured, and where. */
export function headOf(report: Report): string {
  const { node, kernel, cpu, cores } = report.machine;
  const commit = report.machine.commit.replace(/^([0-9a-f]{12})[0-9a-f]+/, '$1');
  const runs = report.rows[0]?.runs ?? 0;
  const fresh = report.fresh ? ', Node programs started anew for each' : '';
  return (
    `dvk bench ${report.bench}: median of ${String(runs)} runs${fresh}; ${cpu}, ` +
    `${String(cores)} cores, Linux ${kernel}, Node ${node}, commit ${commit}`
  );
}

export function formatReport(report: Report): string {
  const tables = [...groupsOf(report.rows)].map(([title, rows]) => groupTable(report, title, rows));
  const verdicts = report.verdicts.map(verdictLine).join('\n');
  const parts = [headOf(report), ...tables, ...(verdicts === '' ? [] : [verdicts])];
  return `${parts.join('\n\n')}\n`;
}

export function formatDocument(report: Report): string {
  return `${JSON.stringify(documentOf(report), undefined, 2)}\n`;
}

export function printReport(report: Report): void {
  process.stdout.write(formatReport(report));
}

export function printDocument(report: Report): void {
  process.stdout.write(formatDocument(report));
}

/** A line on the terminal that the next one overwrites; nothing where nobody looks. */
export function printProgress(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what}`);
}

export function clearProgress(): void {
  printProgress('');
}

export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printError(text: string): void {
  process.stderr.write(`${text}\n`);
}
