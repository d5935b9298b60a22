/**
 * The only writer to the terminal: results go to stdout, progress and errors to stderr.
 *
 * Colour and the rewriting of lines are for terminals only; NO_COLOR turns colour off everywhere.
 */
import { systemClock } from '../dvk/clock.ts';

/** A failure whose message is all that the user needs. `remedy` says what to do. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;
  readonly remedy: string | undefined;

  constructor(message: string, remedy?: string, exitCode: number = ExitCode.FAILURE) {
    super(message);
    this.remedy = remedy;
    this.exitCode = exitCode;
  }
}

export const ExitCode = { SUCCESS: 0, FAILURE: 1, USAGE: 2 } as const;

/** The part of a stream that is written to; tests pass their own. */
export interface Sink {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';

const STYLE_CODES: Readonly<Record<Style, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
};

/** A cell of a table: text, or text with a style. */
export type Cell = string | number | readonly [text: string, style: Style];

export class Output {
  readonly #out: Sink;
  readonly #err: Sink;
  readonly #noColor: boolean;

  constructor(out: Sink, err: Sink, environment: Readonly<Record<string, string | undefined>>) {
    this.#out = out;
    this.#err = err;
    this.#noColor = (environment['NO_COLOR'] ?? '') !== '' || environment['TERM'] === 'dumb';
  }

  #styled(sink: Sink, text: string, style: Style | undefined): string {
    if (style === undefined || this.#noColor || sink.isTTY !== true) return text;
    const [on, off] = STYLE_CODES[style];
    return `\x1b[${String(on)}m${text}\x1b[${String(off)}m`;
  }

  /** A line of the result. */
  line(text = ''): void {
    this.#out.write(`${text}\n`);
  }

  /** One JSON document. */
  json(value: unknown): void {
    this.#out.write(`${JSON.stringify(value, undefined, 2)}\n`);
  }

  /**
   * Rows under headings; columns are as wide as their longest cell, and numbers stand to the right.
   */
  table(headings: readonly string[], rows: readonly (readonly Cell[])[]): void {
    const widths = headings.map((heading, column) =>
      Math.max(heading.length, ...rows.map((row) => textOf(row[column]).length)),
    );
    const format = (row: readonly Cell[], heading: boolean): string =>
      widths
        .map((width, column) => {
          const cell = row[column] ?? '';
          const text = textOf(cell);
          const padding = ' '.repeat(width - text.length);
          const style = heading ? 'bold' : styleOf(cell);
          const styled = this.#styled(this.#out, text, style);
          return typeof cell === 'number' ? padding + styled : styled + padding;
        })
        .join('  ')
        .trimEnd();
    this.line(format(headings, true));
    for (const row of rows) this.line(format(row, false));
  }

  /** A line for the person at the terminal, not part of the result. */
  note(text: string, style?: Style): void {
    this.#err.write(`${this.#styled(this.#err, text, style)}\n`);
  }

  error(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#err.write(`${this.#styled(this.#err, 'error:', 'red')} ${message}\n`);
    if (error instanceof CliError) {
      if (error.remedy !== undefined) this.#err.write(`  ${error.remedy}\n`);
    } else if (isBug(error)) {
      this.#err.write(`${error.stack ?? ''}\n`);
    }
  }

  /** Shows on a terminal how far the step under way has come. */
  progress(text: string): void {
    if (this.#err.isTTY === true) this.#err.write(`\r\x1b[K  .. ${text}`);
  }

  /**
   * Runs `work` and shows what is done and how long it took; `work` may return more to say about
   * it.
   */
  async step(title: string, work: () => Promise<string | undefined>): Promise<void> {
    const start = systemClock.nowMs();
    const live = this.#err.isTTY === true;
    if (live) this.#err.write(`  .. ${title}`);
    const finish = (mark: string, style: Style, detail: string | undefined): void => {
      const seconds = ((systemClock.nowMs() - start) / 1000).toFixed(2);
      const text = detail === undefined || detail === '' ? title : `${title}: ${detail}`;
      const head = live ? '\r\x1b[K' : '';
      const styled = this.#styled(this.#err, mark, style);
      this.#err.write(
        `${head}  ${styled} ${text}  ${this.#styled(this.#err, `${seconds} s`, 'dim')}\n`,
      );
    };
    try {
      finish('ok', 'green', await work());
    } catch (error) {
      finish('!!', 'red', undefined);
      throw error;
    }
  }
}

function textOf(cell: Cell | undefined): string {
  if (cell === undefined) return '';
  return typeof cell === 'object' ? cell[0] : String(cell);
}

function styleOf(cell: Cell): Style | undefined {
  return typeof cell === 'object' ? cell[1] : undefined;
}

// Errors of these classes come from a mistake in the program; their place is worth a stack.
function isBug(error: unknown): error is Error {
  return (
    error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError
  );
}

/** `12 s`, `3 min`, `5 h`, `2 d`: how long ago a time of the wall clock was. */
export function age(sinceMs: number, nowMs: number = Date.now()): string {
  const seconds = Math.max(0, Math.round((nowMs - sinceMs) / 1000));
  if (seconds < 120) return `${String(seconds)} s`;
  if (seconds < 7200) return `${String(Math.round(seconds / 60))} min`;
  if (seconds < 172_800) return `${String(Math.round(seconds / 3600))} h`;
  return `${String(Math.round(seconds / 86_400))} d`;
}

/** One line of a daemon's log: time, event, fields. */
export function logEvent(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...fields })}\n`);
}

// A reader that has seen enough (`dvk status | head`), or a terminal that went away, is no failure
// of ours.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

export const output: Output = new Output(process.stdout, process.stderr, process.env);
