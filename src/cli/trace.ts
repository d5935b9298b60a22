/**
 * `dvk trace`: watches the IPC of a container on the nodes of this machine.
 *
 * While it runs, calls are traced; it ends at Ctrl-C, after `--count` events or `--for` seconds, or
 * when nobody reads what it writes. Two may watch at once. However it ends, tracing ends with the
 * last one.
 */
import { closeSync, openSync, writeSync } from 'node:fs';

import { InvalidArgumentError, type Command } from 'commander';

import { TRACE_CALLS, Segment, type TraceCallName, type TraceEvent } from '../dvk/index.ts';
import type { Trace } from '../dvk/index.ts';
import { systemClock } from '../dvk/clock.ts';
import { formatEndpoint } from '../dvk/endpoint.ts';
import { traceTime } from '../dvk/trace.ts';
import type { ContainerStatus } from './inspect.ts';
import { findOne, inspectSelected, wholeNumber, withSelection, type Selection } from './options.ts';
import { CliError, ExitCode, output } from './output.ts';
import { ChromeExport, type ChromeEvent } from './trace-export.ts';
import { parseDuration, traceFilter, TRACE_GROUPS, type TraceGroup } from './trace-filter.ts';
import { formatDuration, traceHeading, traceLine, traceObject, WallClock } from './trace-lines.ts';
import { TraceNames } from './trace-names.ts';
import { TraceSummary } from './trace-summary.ts';
import { sleep } from './wait.ts';

// A ring has 8192 events, so this sees all of a process that makes 100,000 calls a second.
const POLL_MS = 20;
// Events of several nodes are put in order when no older one can come.
const HOLD_NS = 5e6;
const WRITE_BYTES = 1 << 18;

const SHOWN: readonly TraceGroup[] = ['calls', 'bindings'];

interface TraceOptions extends Selection {
  readonly node?: number;
  readonly process?: readonly string[];
  readonly peer?: readonly string[];
  readonly call?: readonly TraceCallName[];
  readonly show?: readonly TraceGroup[];
  readonly errors?: boolean;
  readonly slower?: number;
  readonly count?: number;
  readonly for?: number;
  readonly summary?: boolean;
  readonly export?: string;
}

export function register(program: Command): void {
  withSelection(program.command('trace').argument('<dc>', 'container, by name or number'))
    .description('watch the IPC of a container')
    .option('--node <id>', 'only on this node', wholeNumber)
    .option('--process <process>', 'only of this one: name, slot or endpoint; repeatable', collect)
    .option('--peer <process>', 'only with this one; repeatable', collect)
    .option('--call <calls>', `only these: ${TRACE_CALLS.join(',')}`, callsOption)
    .option(
      '--show <groups>',
      `of ${Object.keys(TRACE_GROUPS).join(',')}; ${SHOWN.join(',')} unless given`,
      groupsOption,
    )
    .option('--errors', 'only what failed')
    .option('--slower <duration>', 'only what took at least so long, as 100us or 2ms', slowerOption)
    .option('--count <events>', 'end after so many', wholeNumber)
    .option('--for <seconds>', 'end after this time', secondsOption)
    .option('--summary', 'no events, but a table of calls at the end')
    .option('--export <file>', 'write a file for Perfetto or chrome://tracing, and no lines')
    .action(run);
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

function listOf<Name extends string>(text: string, known: readonly Name[]): Name[] {
  return text.split(',').map((name) => {
    const found = known.find((one) => one === name);
    if (found === undefined) throw new InvalidArgumentError(`choose from ${known.join(', ')}.`);
    return found;
  });
}

function callsOption(text: string): TraceCallName[] {
  return listOf(text, TRACE_CALLS);
}

function groupsOption(text: string): TraceGroup[] {
  return listOf(text, Object.keys(TRACE_GROUPS) as TraceGroup[]);
}

function slowerOption(text: string): number {
  const ns = parseDuration(text);
  if (ns !== undefined) return ns;
  throw new InvalidArgumentError('give a time, as 100us, 2.5ms or 1s.');
}

function secondsOption(text: string): number {
  if (/^\d{1,6}(\.\d+)?$/.test(text) && Number(text) > 0) return Number(text);
  throw new InvalidArgumentError('give seconds.');
}

const nothing = (): void => undefined;

/** Where the events go. */
interface Sink {
  event(event: TraceEvent): void;
  /** After some events: shows them. */
  flush(): void;
  end(time: number): void;
}

async function run(wanted: string, options: TraceOptions): Promise<void> {
  if (options.summary === true && options.export !== undefined) {
    throw new CliError('give --summary or --export', 'One file, or one table.', ExitCode.USAGE);
  }
  if (options.show !== undefined && options.export !== undefined) {
    throw new CliError(
      '--show has no part in --export',
      'A file has all groups; choose in its viewer, or leave events out by the other options.',
      ExitCode.USAGE,
    );
  }
  const { containers } = await inspectSelected(options);
  const container = findOne(
    containers,
    ({ name, id }) => name === wanted || String(id) === wanted,
    { what: `container ${wanted}`, names: containers.map(({ name }) => name) },
  );
  const segments = openSegments(container, options.node);
  try {
    await watch(segments, options);
  } finally {
    for (const segment of segments) segment.close();
  }
}

function openSegments({ name, nodes }: ContainerStatus, only: number | undefined): Segment[] {
  const chosen = nodes.filter(({ node }) => only === undefined || node === only);
  if (only !== undefined && chosen.length === 0) {
    const members = nodes.map(({ node }) => String(node)).join(', ');
    throw new CliError(`container ${name} is not on node ${String(only)}`, `It is on ${members}.`);
  }
  const up = chosen.flatMap(({ report }) => report?.segment ?? []);
  if (up.length === 0) throw new CliError(`no node of container ${name} is up`);
  return up.map((path) => Segment.open(path));
}

/** What went missing, said when it happens and again at the end. */
class Losses {
  #lost = 0;
  #torn = 0;

  add(batch: { lost: number; torn: number; interrupted?: boolean }): void {
    this.#lost += batch.lost;
    this.#torn += batch.torn;
    if (batch.lost > 0) output.note(`... ${String(batch.lost)} events were lost: too many came`);
    if (batch.interrupted === true) {
      output.note('... tracing was off for a while, since nobody read the events');
    }
  }

  get lost(): number {
    return this.#lost;
  }

  get torn(): number {
    return this.#torn;
  }
}

async function watch(segments: readonly Segment[], options: TraceOptions): Promise<void> {
  const names = new TraceNames(new Map(segments.map((segment) => [segment.nodeId, segment])));
  const clock = new WallClock(Date.now(), traceTime());
  const losses = new Losses();
  const sink = makeSink(options, { names, clock, losses });
  const stopper = new Stopper(options.for);
  const traces: Trace[] = [];
  try {
    for (const segment of segments) traces.push(segment.trace());
    const stream = new EventStream(traces, { options, names, losses });
    const nodes = segments.map(({ nodeId }) => String(nodeId)).join(', ');
    output.note(`watching on node ${nodes}; Ctrl-C ends it`);
    let more = true;
    while (more && !stopper.stopped) {
      await sleep(POLL_MS);
      more = stream.pass(traceTime() - HOLD_NS, sink);
      sink.flush();
    }
    if (more) stream.pass(Infinity, sink);
    sink.flush();
  } finally {
    stopper.close();
    for (const trace of traces) trace.stop();
    sink.end(traceTime());
  }
}

/** Told to end by a signal, by time, or since nobody reads. */
class Stopper {
  stopped = false;
  readonly #stop = (): void => {
    this.stopped = true;
  };
  readonly #cancel: () => void;

  constructor(seconds: number | undefined) {
    this.#cancel = seconds === undefined ? nothing : systemClock.after(seconds * 1000, this.#stop);
    process.on('SIGINT', this.#stop).on('SIGTERM', this.#stop).on('SIGHUP', this.#stop);
    process.stdout.on('error', this.#stop);
  }

  close(): void {
    this.#cancel();
    process.off('SIGINT', this.#stop).off('SIGTERM', this.#stop).off('SIGHUP', this.#stop);
    process.stdout.off('error', this.#stop);
  }
}

interface StreamParts {
  readonly options: TraceOptions;
  readonly names: TraceNames;
  readonly losses: Losses;
}

/** The events of several nodes in the order of their times. */
class EventStream {
  readonly #traces: readonly Trace[];
  readonly #names: TraceNames;
  readonly #losses: Losses;
  readonly #wanted: (event: TraceEvent) => boolean;
  #left: number;

  constructor(traces: readonly Trace[], { options, names, losses }: StreamParts) {
    this.#traces = traces;
    this.#names = names;
    this.#losses = losses;
    this.#left = options.count ?? Infinity;
    const { process: processes, peer: peers, call: calls, errors, slower, show = SHOWN } = options;
    // A file has its own way to show each kind.
    const groups: readonly TraceGroup[] = options.export === undefined ? show : ['all'];
    this.#wanted = traceFilter(
      {
        groups,
        ...(processes && { processes }),
        ...(peers && { peers }),
        ...(calls && { calls }),
        ...(errors && { errorsOnly: errors }),
        ...(slower !== undefined && { slowerNs: slower }),
      },
      names,
    );
  }

  /** Passes on what happened up to `until`. Returns whether more is wanted. */
  pass(until: number, sink: Sink): boolean {
    const batches = this.#traces.map((trace) => trace.poll(until));
    for (const batch of batches) this.#losses.add(batch);
    const events = batches.flatMap((batch) => batch.events);
    if (batches.length > 1) events.sort((a, b) => a.time - b.time);
    for (const event of events) {
      this.#names.learn(event);
      if (!this.#wanted(event)) continue;
      if (this.#left-- <= 0) return false;
      sink.event(event);
    }
    return this.#left > 0;
  }
}

interface SinkParts {
  readonly names: TraceNames;
  readonly clock: WallClock;
  readonly losses: Losses;
}

function makeSink(options: TraceOptions, parts: SinkParts): Sink {
  if (options.export !== undefined) return exportSink(options.export, parts);
  if (options.summary === true) return summarySink(options.json === true, parts);
  return options.json === true ? jsonSink(parts) : lineSink(parts);
}

function lineSink({ names, clock, losses }: SinkParts): Sink {
  output.line(traceHeading());
  return textSink((event) => traceLine(event, names, clock), losses);
}

function jsonSink({ names, clock, losses }: SinkParts): Sink {
  return textSink((event) => JSON.stringify(traceObject(event, names, clock)), losses);
}

/** A line for each event; those that come together are written together. */
function textSink(format: (event: TraceEvent) => string, losses: Losses): Sink {
  let lines: string[] = [];
  return {
    event: (event) => {
      lines.push(format(event));
    },
    flush: () => {
      if (lines.length > 0) output.line(lines.join('\n'));
      lines = [];
    },
    end: () => {
      noteLosses(losses);
    },
  };
}

function noteLosses({ lost, torn }: Losses): void {
  if (lost > 0) output.note(`${String(lost)} events were lost in all`);
  if (torn > 0) output.note(`${String(torn)} events were not finished by their writers`);
}

function summarySink(json: boolean, { names, losses }: SinkParts): Sink {
  const summary = new TraceSummary();
  return {
    event: (event) => {
      summary.add(event);
    },
    flush: nothing,
    end: () => {
      if (json) {
        const items = summary.rows().map((row) => ({
          ...row,
          process: names.find(row.endpoint)?.name ?? null,
          address: formatEndpoint(row.endpoint),
          peerName: names.find(row.peer)?.name ?? null,
          peerAddress: formatEndpoint(row.peer),
        }));
        output.json({ items, lost: losses.lost, torn: losses.torn });
        return;
      }
      output.table(
        ['PROCESS', 'CALL', 'PEER', 'CALLS', 'ERRORS', 'P50', 'P99', 'MAX', 'TOTAL'],
        summary.rows().map(({ endpoint, call, peer, count, errors, p50, p99, max, total }) => [
          names.label(endpoint),
          call,
          names.label(peer),
          count,
          Object.entries(errors)
            .map(([name, times]) => `${String(times)} ${name}`)
            .join(', '),
          ...[p50, p99, max, total].map(formatDuration),
        ]),
      );
      noteLosses(losses);
    },
  };
}

function exportSink(path: string, { names, losses }: SinkParts): Sink {
  let fd: number;
  try {
    fd = openSync(path, 'w', 0o600);
  } catch (error) {
    throw new CliError(`${path} cannot be written: ${(error as Error).message}`);
  }
  const chrome = new ChromeExport(names);
  let count = 0;
  let text = '{"traceEvents":[\n';
  const flush = (): void => {
    writeSync(fd, text);
    text = '';
  };
  const write = (events: readonly ChromeEvent[]): void => {
    for (const event of events) text += `${count++ === 0 ? '' : ',\n'}${JSON.stringify(event)}`;
    if (text.length > WRITE_BYTES) flush();
  };
  return {
    event: (event) => {
      write(chrome.add(event));
    },
    flush: nothing,
    end: (time) => {
      write(chrome.finish(time));
      const { lost, torn } = losses;
      const rest = { displayTimeUnit: 'ns', otherData: { source: 'dvk trace', lost, torn } };
      text += `\n],${JSON.stringify(rest).slice(1)}\n`;
      flush();
      closeSync(fd);
      output.note(`${String(count)} events in ${path}`);
      noteLosses(losses);
    },
  };
}
