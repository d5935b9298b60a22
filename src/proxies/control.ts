/**
 * What the node daemon and its proxy say to each other over the IPC channel that the proxy was
 * started with.
 *
 *   daemon                                      proxy
 *   start  --------------------------------->   listens, dials
 *          <---------------------------------   ready (where), or failed and exit code 1
 *   peers, segments (whole lists, any time) ->
 *          <---------------------------------   link (each change), moved, link-failed
 *   credentials  --------------------------->   reads its certificate and the deny list anew
 *          <---------------------------------   credentials
 *   stats  --------------------------------->
 *          <---------------------------------   stats
 *   set  ----------------------------------->   changes settings, all or none
 *          <---------------------------------   set
 *   paths  --------------------------------->   prefers, forbids or allows paths to a peer
 *          <---------------------------------   paths
 *   stop, or the end of the channel -------->   takes leave of its peers, exit code 0
 *
 * A list replaces the one before. `segments` is to be sent again when a node joined or left a DC.
 */
import type { PathChange } from './bond.ts';
import type { CredentialFiles } from './credentials.ts';
import type { EngineStatistics } from './engine.ts';
import type { SessionTimes } from './session.ts';
import type { ProxySettings, SettingChange } from './settings.ts';

export interface ControlPeer {
  node: number;
  name: string;
  /** Of its interface, as 02:00:00:00:00:01, where the link is over Ethernet. */
  host: string;
  port: number;
  /** What carries the link to it; by default the first of `transports`. */
  transport?: string;
  /** What this path to it is called; by default as its transport. */
  path?: string;
  /** Further paths to it, each preferred to those behind it. Both ends have the same list. */
  others?: ControlPath[];
}

/** A path to another node. */
export interface ControlPath {
  host: string;
  port: number;
  transport?: string;
  path?: string;
}

/** The interface of links over Ethernet. */
export interface ControlEthernet {
  interface: string;
  /** Its address, when that is known: the proxy refuses another one. */
  address?: string;
  /** 0x88b5 when absent. */
  etherType?: number;
}

export interface ControlSegment {
  dcId: number;
  /** Path of the segment's file. */
  path: string;
}

/** How links are protected. Both ends of a link must be the same in this. */
export type ControlSecurity =
  | { mode: 'sealed'; files: CredentialFiles }
  /** Plain text, and peers are believed whatever they say. */
  | { mode: 'insecure' };

export interface StartMessage {
  type: 'start';
  dvs: string;
  node: number;
  /** Random, new at each start of the node: decimal digits of up to 64 bits, or a safe integer. */
  incarnation: string | number;
  listen: { host: string; port: number };
  /** Where it listens too, for paths that have an address of their own. */
  more?: { host: string; port: number }[];
  security: ControlSecurity;
  segments: ControlSegment[];
  peers: ControlPeer[];
  /**
   * What to listen on, the first being that of most links: `tcp` (the default), `udp` or
   * `ethernet`.
   */
  transports?: string[];
  /** Needed when `ethernet` is one of them. */
  ethernet?: ControlEthernet;
  times?: Partial<SessionTimes>;
  /** How long a session without a connection is held, in ms; see EngineOptions. */
  holdMs?: number;
  /** What is packed by LZ4; see settings.ts. */
  compress?: ProxySettings['compress'];
  compressSealed?: ProxySettings['compressSealed'];
}

export type ToProxy =
  | StartMessage
  | { type: 'peers'; peers: ControlPeer[] }
  | { type: 'segments'; segments: ControlSegment[] }
  | { type: 'credentials' }
  | { type: 'stats' }
  | { type: 'set'; settings: Record<string, unknown> }
  | { type: 'paths'; peer: number; change: PathChange }
  | { type: 'stop' };

export type FromProxy =
  /** The port it listens on, on all transports, and the address of its interface. */
  | { type: 'ready'; port: number; ethernet?: string }
  | { type: 'failed'; reason: string }
  | { type: 'link'; peer: number; state: 'up' | 'held' | 'down'; reason?: string }
  /** The session goes on over another path that was up, and why. */
  | { type: 'moved'; peer: number; path: string; reason: string }
  /** An attempt to open a link that is down failed, for another reason than the one before. */
  | { type: 'link-failed'; peer: number; reason: string }
  /** The files were read anew; `reason` says why those of before are kept. */
  | { type: 'credentials'; reason?: string }
  /** A segment of the list could not be opened; the others are served. */
  | { type: 'segment-failed'; dcId: number; reason: string }
  | { type: 'stats'; stats: EngineStatistics }
  /** What was changed, or why nothing was. */
  | { type: 'set'; changes: SettingChange[] }
  | { type: 'set'; reason: string }
  /** They are as was asked, or why not. */
  | { type: 'paths'; reason?: string };
