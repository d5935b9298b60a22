/**
 * The counters of proxies as Prometheus reads them: its text format, with names and units as
 * OpenMetrics has them. The names are listed in docs/operation.md, and stay.
 *
 * A counter begins anew when the proxy does, and those of a connection when the link comes up
 * again; Prometheus knows how to read that.
 */
import type { EngineStatistics, PeerStatistics } from '../proxies/engine.ts';
import type { PathStatistics } from '../proxies/path.ts';
import type { TrackerStatistics } from '../proxies/trackers.ts';
import type { KindTraffic } from '../proxies/traffic.ts';

type Labels = Readonly<Record<string, string | number>>;
type Kind = 'counter' | 'gauge';

/** What is needed to know of a proxy. */
export interface Exposed {
  readonly node: number;
  readonly state: string;
  readonly stats: EngineStatistics | null;
}

interface Description {
  readonly kind: Kind;
  readonly name: string;
  readonly help: string;
}

interface Family extends Description {
  readonly samples: string[];
}

function escaped(text: string | number): string {
  return String(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

/** Samples by the name of their metric, since all of a metric stand together. */
export class Metrics {
  readonly #prefix: string;
  readonly #families = new Map<string, Family>();

  /** Each name begins with `prefix`, as dvk_proxy. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Null is left out: it is not known. */
  add(what: Description, labels: Labels, value: number | null): void {
    if (value === null) return;
    const { name } = what;
    const family = this.#families.get(name) ?? { ...what, samples: [] };
    this.#families.set(name, family);
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
    family.samples.push(`${this.#prefix}_${name}{${pairs.join(',')}} ${String(value)}`);
  }

  text(): string {
    const families = [...this.#families].flatMap(([name, { kind, help, samples }]) => [
      `# HELP ${this.#prefix}_${name} ${help}`,
      `# TYPE ${this.#prefix}_${name} ${kind}`,
      ...samples,
    ]);
    return families.map((line) => `${line}\n`).join('');
  }
}

type Add = (name: string, help: string, value: number | null, labels?: Labels) => void;

function seconds(ms: number | null | undefined): number | null {
  return ms === null || ms === undefined ? null : ms / 1000;
}

function addLink(peer: PeerStatistics, gauge: Add, counter: Add): void {
  const { quality, queue, throughput } = peer;
  gauge('link_up', 'Whether the link is up.', peer.state === 'up' ? 1 : 0);
  gauge('link_uptime_seconds', 'How long the link has been up.', seconds(peer.upForMs));
  counter('link_reconnects_total', 'Times that it came up after the first.', peer.reconnects);
  counter('link_moves_total', 'Times that it moved to another path.', peer.moves);
  counter('handshake_failures_total', 'Attempts to link that failed.', peer.handshakeFailures);
  const directions = [
    ['sent', peer.framesSent, peer.bytesSent, throughput.sentBytesPerSecond],
    ['received', peer.framesReceived, peer.bytesReceived, throughput.receivedBytesPerSecond],
  ] as const;
  for (const [direction, frames, bytes, rate] of directions) {
    const labels = { direction };
    counter('frames_total', 'Frames.', frames, labels);
    counter('bytes_total', 'Bytes of frames.', bytes, labels);
    gauge('throughput_bytes_per_second', 'Bytes of the last seconds.', rate, labels);
  }
  for (const [stage, bytes] of [
    ['before', peer.packedBytesBefore],
    ['after', peer.packedBytesAfter],
  ] as const) {
    counter('packed_bytes_total', 'Bytes of blocks that were packed.', bytes, { stage });
  }
  for (const [form, blocks] of [
    ['packed', peer.packedBlocks],
    ['plain', peer.plainBlocks],
  ] as const) {
    counter('blocks_total', 'Blocks that might be packed.', blocks, { form });
  }
  counter('stale_frames_total', 'Frames of another session.', peer.staleFrames);
  counter('duplicate_frames_total', 'Frames that had come.', peer.duplicateFrames);
  for (const [reason, count] of Object.entries(peer.drops)) {
    counter('dropped_commands_total', 'Commands that were not acted on.', count, { reason });
  }
  gauge('send_queue_bytes', 'What waits to be sent.', queue?.bufferedBytes ?? null);
  gauge('send_queue_limit_bytes', 'What may wait in a lane.', queue?.limitBytes ?? null);
  const rttMs = quality?.rttMs ?? peer.rttMs;
  gauge('rtt_seconds', 'Smoothed round-trip time.', seconds(rttMs));
  if (quality === null) return;
  gauge('rtt_variation_seconds', 'Its variation.', seconds(quality.rttVariationMs));
  gauge('rtt_min_seconds', 'The smallest one.', seconds(quality.rttMinMs));
  gauge('congestion_window_bytes', 'Bytes that may be under way.', quality.windowBytes);
  gauge('datagram_bytes', 'Longest datagram or segment in use.', quality.datagramBytes);
  counter('packets_sent_total', 'Packets or segments.', quality.packetsSent);
  counter('packets_received_total', 'Packets or segments.', quality.packetsReceived);
  counter('packets_lost_total', 'Taken for lost and sent again.', quality.packetsLost);
  counter('packet_timeouts_total', 'Time-outs of the reliable layer.', quality.timeouts);
  counter('packet_duplicates_total', 'Packets that had come.', quality.duplicates);
  counter('rekeys_total', 'New keys of this side.', quality.rekeys);
}

// Of each path, where a link has several or one.
function addPath(path: PathStatistics, gauge: Add, counter: Add): void {
  const { state, carries, upForMs, quality } = path;
  gauge('path_up', 'Whether the path is up.', state === 'up' ? 1 : 0);
  gauge('path_carries', 'Whether what is sent goes over it.', carries ? 1 : 0);
  gauge('path_forbidden', 'Whether it was forbidden here.', state === 'forbidden' ? 1 : 0);
  gauge('path_uptime_seconds', 'How long the path has been up.', seconds(upForMs));
  gauge('path_steady_seconds', 'How long until it is returned to.', seconds(path.steadyMs));
  counter('path_connects_total', 'Times that it came up.', path.connects);
  counter('path_moves_total', 'Times that the link moved to it.', path.moves);
  counter('path_handshake_failures_total', 'Attempts that failed.', path.handshakeFailures);
  for (const [direction, frames, bytes] of [
    ['sent', path.framesSent, path.bytesSent],
    ['received', path.framesReceived, path.bytesReceived],
  ] as const) {
    counter('path_frames_total', 'Frames over it.', frames, { direction });
    counter('path_bytes_total', 'Bytes of frames over it.', bytes, { direction });
  }
  gauge('path_rtt_seconds', 'Round-trip time.', seconds(quality?.rttMs ?? path.rttMs));
  if (quality === null) return;
  counter('path_packets_sent_total', 'Packets or segments.', quality.packetsSent);
  counter('path_packets_lost_total', 'Taken for lost and sent again.', quality.packetsLost);
}

function addKinds(direction: string, kinds: readonly KindTraffic[], counter: Add): void {
  for (const { kind, commands, dataBytes, errors } of kinds) {
    const labels = { kind, direction };
    counter('commands_total', 'Commands.', commands, labels);
    counter('command_data_bytes_total', 'Bytes of data in commands.', dataBytes, labels);
    counter('command_errors_total', 'Answers that told an error.', errors, labels);
  }
}

function addTracker(tracker: TrackerStatistics, counter: Add): void {
  const of = (name: string, help: string, key: string, counts: Record<string, number>): void => {
    for (const [label, count] of Object.entries(counts))
      counter(name, help, count, { [key]: label });
  };
  const { found, absent, unreachable } = tracker;
  of('searches_total', 'Slots looked for.', 'outcome', { found, absent, unreachable });
  const { queriesSent: asked, queriesReceived: heard, queriesIgnored: ignored } = tracker;
  of('tracker_queries_total', 'Queries of trackers.', 'what', {
    ...{ sent: asked, received: heard, ignored },
  });
  const { answersSent: sent, answersReceived: received, answersLate: late } = tracker;
  of('tracker_answers_total', 'Answers to them.', 'what', { sent, received, late });
  counter('stale_bindings_total', 'Bindings that their node did not know.', tracker.stale);
  counter('binding_conflicts_total', 'Endpoints on two nodes.', tracker.conflicts);
}

function addProxy(stats: EngineStatistics, nameOf: (dc: number) => string, add: AddIn): void {
  const gauge = add('gauge', {});
  const counter = add('counter', {});
  gauge('uptime_seconds', 'How long the proxy has been running.', seconds(stats.upForMs));
  gauge('sealed', 'Whether links are encrypted.', stats.sealed ? 1 : 0);
  for (const [reason, count] of Object.entries(stats.refusals)) {
    counter('refused_connections_total', 'Connections refused.', count, { reason });
  }
  for (const [reason, count] of Object.entries(stats.datagrams)) {
    counter('stray_datagrams_total', 'Datagrams of no connection.', count, { reason });
  }
  for (const [name, value] of Object.entries<number | string>({ ...stats.settings })) {
    const isNumber = typeof value === 'number';
    const labels = { name, ...(!isNumber && { value }) };
    gauge('setting', 'What `dvk proxy set` changes.', isNumber ? value : 1, labels);
  }
  for (const tracker of stats.trackers) {
    addTracker(tracker, add('counter', { dc: nameOf(tracker.dcId) }));
  }
  for (const peer of stats.peers) {
    const who = { peer: peer.node };
    addLink(peer, add('gauge', { ...who, transport: peer.transport }), add('counter', who));
    for (const path of peer.paths) {
      const labels = { ...who, path: path.path, transport: path.transport };
      addPath(path, add('gauge', labels), add('counter', labels));
    }
    for (const { dcId, queued, queueLimit, sent, received, drops, state } of peer.traffic) {
      const labels = { ...who, dc: nameOf(dcId) };
      const [more, now] = [add('counter', labels), add('gauge', labels)];
      now('dc_up', 'Whether the container is up with the peer.', state === 'up' ? 1 : 0);
      now('queued_commands', 'Commands that wait in the core.', queued);
      now('queued_commands_limit', 'How many there may be.', queueLimit);
      addKinds('sent', sent, more);
      addKinds('received', received, more);
      for (const [reason, count] of Object.entries(drops)) {
        more('dc_dropped_commands_total', 'Of the container alone.', count, { reason });
      }
    }
  }
}

type AddIn = (kind: Kind, where: Labels) => Add;

/** All that is known of the proxies of a DVS, or of some of them. */
export function exposition(
  dvs: string,
  proxies: readonly Exposed[],
  containers: readonly { readonly id: number; readonly name: string }[],
): string {
  const metrics = new Metrics('dvk_proxy');
  const names = new Map(containers.map(({ id, name }) => [id, name]));
  for (const { node, state, stats } of proxies) {
    const add: AddIn = (kind, where) => (name, help, value, labels) => {
      metrics.add({ kind, name, help }, { dvs, node, ...where, ...labels }, value);
    };
    add('gauge', {})('up', 'Whether the proxy runs.', state === 'up' ? 1 : 0);
    if (stats !== null && state === 'up') {
      addProxy(stats, (dc) => names.get(dc) ?? String(dc), add);
    }
  }
  return metrics.text();
}
