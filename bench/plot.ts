/**
 * Results as a picture: an SVG with a panel for each placement, number of pairs and size, and in it
 * a bar for each case, the fastest first, with a line from the slowest run to the fastest.
 *
 * Rates differ by factors of thousands, so their scale is logarithmic: each step is ten times the
 * one before. Percents have a linear one. The colours can be read on light and on dark paper, and
 * follow the reader's preference where the viewer knows it.
 */
import { formatNumber, groupsOf, headOf, titleOf, unitTitle, type Report } from './report.ts';
import type { Row } from './harness.ts';

const WIDTH = 880;
const MARGIN = 16;
const LABEL_WIDTH = 230;
const VALUE_WIDTH = 70;
const BAR_LEFT = MARGIN + LABEL_WIDTH;
const BAR_WIDTH = WIDTH - MARGIN - VALUE_WIDTH - BAR_LEFT;
const LINE_HEIGHT = 18;
const BAR_HEIGHT = 11;
const TITLE_HEIGHT = 24;
const AXIS_HEIGHT = 26;
const CHARACTERS_A_LINE = 120;

const STYLE = [
  'text { font: 12px system-ui, sans-serif; fill: #6e7781; }',
  '.title { font-weight: 600; }',
  '.grid { stroke: #8c959f; stroke-opacity: 0.3; }',
  '.ours { fill: #2f81d7; }',
  '.other { fill: #8c959f; }',
  '.spread { stroke: #cf7a1c; stroke-width: 2; }',
  '@media (prefers-color-scheme: dark) { text { fill: #adbac7; } }',
];

/** A scale of the bars: where a value is, from 0 to 1, and the values that are marked. */
interface Scale {
  at(value: number): number;
  readonly ticks: readonly number[];
}

export function logScale(least: number, greatest: number): Scale {
  const low = Math.floor(Math.log10(least));
  const high = Math.max(low + 1, Math.ceil(Math.log10(greatest)));
  return {
    at: (value) => Math.min(1, Math.max(0, (Math.log10(value) - low) / (high - low))),
    ticks: Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index)),
  };
}

/** A scale that begins at 0. */
export function linearScale(greatest: number): Scale {
  const end = greatest > 0 ? greatest : 1;
  return {
    at: (value) => Math.min(1, Math.max(0, value / end)),
    ticks: [0, end / 2, end],
  };
}

function scaleOf(rows: readonly Row[]): Scale {
  const greatest = Math.max(...rows.map(({ max }) => max));
  const least = Math.min(...rows.map(({ min }) => min));
  const logarithmic = rows.every(({ unit, min }) => unit !== 'percent' && min > 0);
  return logarithmic ? logScale(least, greatest) : linearScale(greatest);
}

function escaped(text: string): string {
  const names: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return text.replace(/[&<>"]/g, (sign) => names[sign] ?? sign);
}

interface TextPlace {
  readonly x: number;
  readonly y: number;
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly name?: string;
}

function textAt({ x, y, anchor = 'start', name }: TextPlace, text: string): string {
  const style = name === undefined ? '' : ` class="${name}"`;
  return `<text x="${px(x)}" y="${px(y)}" text-anchor="${anchor}"${style}>${escaped(text)}</text>`;
}

/** A length without the digits that nobody sees. */
function px(value: number): string {
  return String(Number(value.toFixed(1)));
}

function barOf(row: Row, top: number, scale: Scale): string[] {
  const x = (value: number): string => px(BAR_LEFT + scale.at(value) * BAR_WIDTH);
  const middle = top + LINE_HEIGHT / 2;
  const width = px(scale.at(row.median) * BAR_WIDTH);
  const y = px(middle - BAR_HEIGHT / 2);
  const kind = row.case.startsWith('dvk-') ? 'ours' : 'other';
  return [
    textAt({ x: BAR_LEFT - 8, y: middle + 4, anchor: 'end' }, titleOf(row)),
    `<rect class="${kind}" x="${px(BAR_LEFT)}" y="${y}" width="${width}" height="${BAR_HEIGHT}"/>`,
    `<path class="spread" d="M${x(row.min)} ${px(middle)}H${x(row.max)}"/>`,
    textAt({ x: WIDTH - MARGIN, y: middle + 4, anchor: 'end' }, formatNumber(row.median)),
  ];
}

function gridOf(scale: Scale, top: number, bottom: number): string[] {
  return scale.ticks.flatMap((tick) => {
    const x = BAR_LEFT + scale.at(tick) * BAR_WIDTH;
    return [
      `<path class="grid" d="M${px(x)} ${px(top)}V${px(bottom)}"/>`,
      textAt({ x, y: bottom + 14, anchor: 'middle' }, formatNumber(tick)),
    ];
  });
}

function panel(title: string, rows: readonly Row[], top: number): { lines: string[]; end: number } {
  const scale = scaleOf(rows);
  const first = top + TITLE_HEIGHT;
  const bottom = first + rows.length * LINE_HEIGHT;
  const sorted = [...rows].sort((a, b) => b.median - a.median);
  return {
    lines: [
      textAt({ x: MARGIN, y: top + 14, name: 'title' }, `${title}: ${unitTitle(rows)}`),
      ...gridOf(scale, first, bottom),
      ...sorted.flatMap((row, index) => barOf(row, first + index * LINE_HEIGHT, scale)),
    ],
    end: bottom + AXIS_HEIGHT,
  };
}

/** Breaks a line at its spaces. */
function wrapped(text: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last.length + word.length >= CHARACTERS_A_LINE) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}

export function formatPlot(report: Report): string {
  const lines: string[] = [];
  let top = MARGIN;
  for (const line of wrapped(headOf(report))) {
    lines.push(textAt({ x: MARGIN, y: top + 12 }, line));
    top += LINE_HEIGHT;
  }
  for (const [title, rows] of groupsOf(report.rows)) {
    const { lines: drawn, end } = panel(title, rows, top + MARGIN);
    lines.push(...drawn);
    top = end;
  }
  const height = px(top);
  const size = `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">`,
    `<title>dvk bench ${escaped(report.bench)}</title>`,
    `<style>${STYLE.join('\n')}</style>`,
    ...lines,
    '</svg>',
    '',
  ].join('\n');
}
