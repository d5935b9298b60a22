/**
 * TCP between nodes, sealed: TLS 1.3 and nothing older, and both ends prove who they are.
 *
 * A connection is opened for its owner only after the peer's certificate was accepted, by OpenSSL
 * against the CA and by credentials.ts; before that not a byte of the owner's is sent, and none of
 * the peer's is shown to the owner. Node makes no difference to OpenSSL between bad certificates,
 * so the handshake goes through with any of them, and the connection is dropped after it: thus the
 * refusal can say what was wrong. There is no resumption of earlier sessions: each connection is
 * judged anew, with the certificates and the deny list of that moment.
 *
 * The first byte that comes tells what the peer speaks: 0x16 begins a TLS handshake, `D` a frame of
 * a peer in plain text, which gets a TLS alert, so that it too can name the reason.
 */
import { constants } from 'node:crypto';
import { createServer, type ConnectOpts, type Socket } from 'node:net';
import { connect as connectSealed, createServer as createSealer } from 'node:tls';
import type { ConnectionOptions, SecureContextOptions, TLSSocket } from 'node:tls';
import type { Clock } from '../dvk/clock.ts';
import { Admission } from './admission.ts';
import type { Credentials } from './credentials.ts';
import { FRAME_MAGIC } from './frame.ts';
import type { PeerCertificate } from './identity.ts';
import { dialLane, isPreamble, LaneDesk, sealedTicket, type BulkLane } from './bulk-lane.ts';
import { copyFrom, listenAt, reading, SOCKET_OPTIONS, SocketConnection } from './socket.ts';
import { takeOver } from './socket.ts';
import type { Accept, Address, ConnectionEvents, Listener } from './transport.ts';
import type { Refusal, Transport } from './transport.ts';

const TLS_HANDSHAKE = 0x16;
const PLAIN_FRAME = FRAME_MAGIC & 0xff;
// A fatal alert, protocol_version; RFC 8446, 6.
const ALERT_PROTOCOL_VERSION = Uint8Array.of(0x15, 3, 3, 0, 2, 2, 70);
const CLOSED = 'closed by the peer';
const PLAIN_PEER =
  'the peer speaks plain text, as after --insecure, and this node takes sealed links only';
const PLAIN_ANSWER =
  'the answer is plain text: a node that was started with --insecure, or no proxy of dvk at all';

type SealOptions = SecureContextOptions & { rejectUnauthorized: boolean };

/** The choices that both ends make. AES first: processors help with it. */
function optionsOf({ texts }: Credentials): SealOptions {
  return {
    ca: texts.ca,
    cert: texts.certificate,
    key: texts.key,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
    honorCipherOrder: true,
    secureOptions: constants.SSL_OP_NO_TICKET,
    // Judged in `admit`, which both ends pass.
    rejectUnauthorized: false,
  };
}

/** What is told about the end of a connection that never was opened. */
interface Outcome {
  reason: string;
  refusal?: Refusal;
}

/** Looks at the peer's certificate. */
function admit(socket: TLSSocket, credentials: Credentials): PeerCertificate | Outcome {
  const verdict = credentials.examine(socket.getPeerX509Certificate(), Date.now());
  if ('fault' in verdict) {
    const { fault, node } = verdict;
    return { reason: fault, refusal: { code: 'certificate', ...(node !== undefined && { node }) } };
  }
  if (socket.authorized && !socket.isSessionReused()) return verdict;
  const reason = `the certificate of node ${verdict.node} was refused`;
  const why = String(socket.authorizationError);
  return { reason: `${reason}: ${why}`, refusal: { code: 'certificate' } };
}

/** An error of a socket, as far as it says more than that the connection is gone. */
function outcomeOf(error: NodeJS.ErrnoException & { reason?: string }): Outcome {
  const code = error.code ?? error.message;
  if (!code.startsWith('ERR_SSL_') && code !== 'EPROTO') return { reason: code };
  const reason = `TLS failed: ${error.reason ?? code}`;
  return { reason, refusal: { code: 'tls' } };
}

/** An accepted connection until its owner has it. */
class Arrival {
  readonly #socket: Socket;
  readonly #events: ConnectionEvents;
  #outcome: Outcome = { reason: CLOSED };

  constructor(socket: Socket, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on('error', this.fail);
    socket.once('close', this.#tellClosed);
  }

  readonly #tellClosed = (): void => {
    this.#events.closed(this.#outcome.reason, this.#outcome.refusal);
  };

  /**
   * Calls `greet` when the peer begins with a TLS handshake, and `onLane` when the socket is a part
   * of another connection; else the connection ends.
   */
  listen(greet: () => void, onLane: (preamble: Buffer) => void): void {
    let head: Buffer = Buffer.alloc(0);
    const look = (): void => {
      const more = this.#socket.read() as Buffer | null;
      if (more === null) return;
      head = Buffer.concat([head, more]);
      const isLane = isPreamble(head);
      if (isLane === undefined) return;
      this.#socket.off('readable', look);
      if (isLane) {
        this.#socket.off('close', this.#tellClosed);
        this.#events.withdrawn?.();
        onLane(head);
      } else if (head[0] === TLS_HANDSHAKE) {
        this.#socket.unshift(head);
        greet();
      } else if (head[0] === PLAIN_FRAME) {
        this.#outcome = { reason: PLAIN_PEER, refusal: { code: 'security' } };
        this.#socket.end(ALERT_PROTOCOL_VERSION, () => this.#socket.destroy());
      } else {
        const reason = `neither TLS nor a frame begins with the byte ${head[0] ?? 0}`;
        this.#outcome = { reason, refusal: { code: 'malformed' } };
        this.#socket.destroy();
      }
    };
    this.#socket.on('readable', look);
  }

  /** The peer has begun a handshake too many. */
  refuse(): void {
    const reason = `too many handshakes of ${this.#socket.remoteAddress ?? 'a host'}`;
    this.#outcome = { reason, refusal: { code: 'rate' } };
    this.#socket.destroy();
  }

  readonly fail = (error: Error): void => {
    if (this.#outcome.reason === CLOSED) this.#outcome = outcomeOf(error);
  };

  /** The handshake is done. */
  settle(sealed: TLSSocket, own: { credentials: Credentials; clock: Clock; desk: LaneDesk }): void {
    const peer = admit(sealed, own.credentials);
    if ('reason' in peer) {
      this.#outcome = peer;
      sealed.destroy();
      return;
    }
    // What is still to be read comes before the end of the outer socket, not of the inner one.
    this.#socket.off('close', this.#tellClosed);
    sealed.on('error', this.fail);
    sealed.once('close', this.#tellClosed);
    const letIn = (connection: SocketConnection): void => {
      const ticket = sealedTicket(sealed, 'accepter');
      own.desk.add({ connection, ticket, events: this.#events });
    };
    this.#events.opened(new SocketConnection(sealed, own.clock, { peer, makeLane: letIn }));
    copyFrom(sealed, this.#events);
  }
}

function keyOf(socket: Socket): string {
  return `${socket.remoteAddress ?? ''} ${socket.remotePort ?? 0}`;
}

/** The accepted socket of a lane, which reads into it. */
function laneSocket(accepted: Socket, lane: BulkLane): Socket {
  const own = takeOver(accepted, lane);
  if (own === undefined) copyFrom(accepted, lane);
  return own ?? accepted;
}

/** Makes a connection. The function returned calls it off. */
function dial(
  address: Address,
  events: ConnectionEvents,
  { own, clock }: { own: Credentials; clock: Clock },
): () => void {
  let outcome: Outcome = { reason: CLOSED };
  let isOpen = false;
  const options: ConnectionOptions & ConnectOpts = {
    ...optionsOf(own),
    host: address.host,
    port: address.port,
    // Whom the certificate names is compared with the node that was dialled, not with the host.
    checkServerIdentity: () => undefined,
    onread: reading(
      events,
      () => socket,
      () => isOpen,
    ),
  };
  const socket: TLSSocket = connectSealed(options);
  socket.setNoDelay(SOCKET_OPTIONS.noDelay);
  socket.setKeepAlive(SOCKET_OPTIONS.keepAlive, SOCKET_OPTIONS.keepAliveInitialDelay);
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (outcome.reason !== CLOSED) return;
    outcome = outcomeOf(error);
    if (error.code === 'ERR_SSL_WRONG_VERSION_NUMBER') {
      outcome = { reason: PLAIN_ANSWER, refusal: { code: 'security' } };
    }
  });
  socket.once('close', () => {
    events.closed(outcome.reason, outcome.refusal);
  });
  socket.once('secureConnect', () => {
    const peer = admit(socket, own);
    if ('reason' in peer) {
      outcome = peer;
      socket.destroy();
      return;
    }
    isOpen = true;
    const dialOwn = (connection: SocketConnection): void => {
      dialLane(connection, { address, ticket: sealedTicket(socket, 'dialer'), events }, clock);
    };
    events.opened(new SocketConnection(socket, clock, { peer, makeLane: dialOwn }));
  });
  return () => {
    socket.destroy();
  };
}

/**
 * The sealed TCP transport. `credentials` gives what is valid now; others take effect with the next
 * connection. `admission` says how often a host may begin a handshake, which is what costs.
 */
export function tlsTransport(
  clock: Clock,
  credentials: () => Credentials,
  admission: Admission = new Admission(),
): Transport {
  async function listen(address: Address, accept: Accept): Promise<Listener> {
    let current = credentials();
    const desk = new LaneDesk();
    // Connections that are not opened yet, by the peer's address.
    const arrivals = new Map<string, Arrival>();
    // It never listens: arrivals are handed to it once they have begun a handshake.
    const sealer = createSealer({ ...optionsOf(current), requestCert: true });
    sealer.on('secureConnection', (socket) => {
      const arrival = arrivals.get(keyOf(socket));
      if (arrival) arrival.settle(socket, { credentials: credentials(), clock, desk });
      else socket.destroy();
    });
    sealer.on('tlsClientError', (error, socket) => {
      arrivals.get(keyOf(socket))?.fail(error);
      socket.destroy();
    });
    const server = createServer(SOCKET_OPTIONS);
    server.on('connection', (socket) => {
      const events = accept(() => socket.destroy());
      if (events === undefined) {
        socket.destroy();
        return;
      }
      const key = keyOf(socket);
      const arrival = new Arrival(socket, events);
      arrivals.set(key, arrival);
      socket.once('close', () => arrivals.delete(key));
      const greet = (): void => {
        if (!admission.allows(socket.remoteAddress ?? '', clock.nowMs())) {
          arrival.refuse();
          return;
        }
        const now = credentials();
        if (now !== current) sealer.setSecureContext(optionsOf(now));
        current = now;
        sealer.emit('connection', socket);
      };
      arrival.listen(greet, (preamble) => {
        arrivals.delete(key);
        const joinable = desk.take(preamble);
        if (joinable === undefined) socket.destroy();
        else LaneDesk.join(joinable, (lane) => laneSocket(socket, lane));
      });
    });
    return await listenAt(server, address);
  }

  const connect = (address: Address, events: ConnectionEvents): (() => void) =>
    dial(address, events, { own: credentials(), clock });
  return { name: 'tcp', sealed: true, listen, connect };
}
