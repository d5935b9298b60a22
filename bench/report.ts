/**
 * What a bench prints: a table for people, or one JSON document. The only writer of bench/.
 *
 * The document is `{"bench","commit","node","kernel","cpu","cores","rows":[...],"bars":[...]}`;
 * fields of a row that do not apply are left out.
 */
import { companion, type Verdict } from './bars.ts';
import type { Row } from './harness.ts';
import type { Machine } from './machine.ts';
import { ratioOf } from './statistics.ts';

export interface Report {
  readonly bench: string;
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

export interface ReportDocument extends Machine {
  readonly bench: string;
  readonly rows: readonly ReportedRow[];
  readonly bars: readonly Verdict[];
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

export function documentOf(report: Report): ReportDocument {
  const rows = report.rows.map((row): ReportedRow => {
    const { samples: _, ...kept } = row;
    return {
      ...kept,
      median: rounded(row.median),
      min: rounded(row.min),
      max: rounded(row.max),
      ...(row.p50_us !== undefined && { p50_us: rounded(row.p50_us) }),
      ...(row.p99_us !== undefined && { p99_us: rounded(row.p99_us) }),
      ...(row.unit === 'round-trips/s' && { messages_per_second: rounded(2 * row.median) }),
      ratios: ratiosOf(report, row),
    };
  });
  const bars = report.verdicts.map((verdict) => ({ ...verdict, ratio: rounded(verdict.ratio) }));
  return { bench: report.bench, ...report.machine, rows, bars };
}

/** `1.23 M`: three digits and a decimal prefix. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
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

/** Rows of one placement and size, in the order of measuring. */
function groupsOf(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const size = row.bytes === undefined ? [] : [formatBytes(row.bytes)];
    const title = [...(row.op === undefined ? [] : [row.op]), row.placement, ...size].join(', ');
    groups.set(title, [...(groups.get(title) ?? []), row]);
  }
  return groups;
}

function groupTable(report: Report, title: string, rows: readonly Row[]): string {
  const trips = rows.some((row) => row.unit === 'round-trips/s');
  const heading = [
    title,
    trips ? 'round trips/s' : 'bytes/s',
    'min',
    'max',
    ...(trips ? ['messages/s', 'p50 us', 'p99 us'] : []),
    ...report.baselines.map((name) => `x ${name}`),
  ];
  const lines = rows.map((row) => {
    const ratios = ratiosOf(report, row);
    const micros = [row.p50_us ?? Number.NaN, row.p99_us ?? Number.NaN];
    return [
      row.variant === undefined ? row.case : `${row.case} (${row.variant})`,
      ...[row.median, row.min, row.max].map(formatNumber),
      ...(trips ? [formatNumber(2 * row.median), ...micros.map(formatNumber)] : []),
      ...report.baselines.map((name) => {
        const ratio = ratios[name];
        return ratio === undefined ? '' : formatNumber(ratio);
      }),
    ];
  });
  return formatTable([heading, ...lines]);
}

function verdictLine({ met, bytes, ratio, atLeast, ...bar }: Verdict): string {
  const size = bytes === undefined ? '' : `, ${formatBytes(bytes)}`;
  const measured = `${formatNumber(ratio)} times ${bar.baseline}`;
  const what = `${bar.case} (${bar.placement}${size}) is ${measured}`;
  return `${met ? 'met   ' : 'MISSED'}  ${what}; promised: ${String(atLeast)}`;
}

export function formatReport(report: Report): string {
  const { commit, node, kernel, cpu, cores } = report.machine;
  const runs = report.rows[0]?.runs ?? 0;
  const head =
    `dvk bench ${report.bench}: median of ${String(runs)} runs; ${cpu}, ${String(cores)} cores, ` +
    `Linux ${kernel}, Node ${node}, commit ${commit.slice(0, 12)}`;
  const tables = [...groupsOf(report.rows)].map(([title, rows]) => groupTable(report, title, rows));
  const verdicts = report.verdicts.map(verdictLine).join('\n');
  return `${[head, ...tables, ...(verdicts === '' ? [] : [verdicts])].join('\n\n')}\n`;
}

export function printReport(report: Report): void {
  process.stdout.write(formatReport(report));
}

export function printDocument(report: Report): void {
  process.stdout.write(`${JSON.stringify(documentOf(report), undefined, 2)}\n`);
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
