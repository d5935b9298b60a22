/**
 * The spec of a DVS: which nodes and containers it has, and which services run where.
 *
 * A spec is YAML. `parseSpec` returns it with every default filled in and every reference resolved,
 * or throws a SpecError that lists all its problems as `FILE:LINE: key PATH: what is wrong; what to
 * do`.
 *
 *   dvs: demo
 *   nodes:
 *     - { id: 0, name: node0, listen: 127.0.0.1:0 }
 *     - { id: 1, name: node1, ethernet: eth1 }
 *   transport: tcp
 *   links:
 *     - { nodes: [0, 1], transport: udp }
 *     - nodes: [0, 2]
 *       paths:
 *         - { transport: tcp }
 *         - { transport: tcp, name: spare, listen: 10.1.0.2:7000 }
 *         - { transport: udp }
 *   etherType: 0x88b5
 *   holdMs: 5000
 *   compress: auto
 *   compressSealed: copies
 *   containers:
 *     - name: mol
 *       id: 0
 *       nodes: [0, 1]
 *       processes: 1024
 *       arena: 1 GiB
 *       services:
 *         - { name: fs, kind: fs, node: 1, slot: 1, image: ./demo.img }
 *         - { name: root, kind: fuse, node: 0, server: fs, mount: ./mnt }
 */
import { resolve } from 'node:path';

import { LIMITS } from '../dvk/abi/schema.ts';
import { DEFAULT_ETHER_TYPE, ETHER_TYPE_RANGE } from '../dvk/ethernet.ts';
import { COHERENCES, type Coherence } from './protocol/fs-lease.ts';
import { FS_KEYS, isRam, MOUNT_MEMORY_KEY, readFsOptions, readMountMemory } from './spec-fs.ts';
import type { FsOptions, MountMemory } from './spec-fs.ts';
import {
  formatAddress,
  SpecReader,
  type Address,
  type EthernetPlace,
  type Fields,
  type KeyTable,
  type Place,
} from './spec-reader.ts';

export { formatSize, parseSize, SpecError } from './spec-reader.ts';
export type { Address, EthernetPlace } from './spec-reader.ts';

export interface NodeSpec {
  readonly id: number;
  readonly name: string;
  /** Where the node's proxy accepts links. */
  readonly listen: Address;
  /** The interface of its links over Ethernet, when it has one. */
  readonly ethernet?: EthernetPlace;
}

/** What carries links between nodes. */
export const TRANSPORTS = ['tcp', 'udp', 'ethernet'] as const;
export type TransportName = (typeof TRANSPORTS)[number];

/** One of the ways from node to node. */
export interface PathSpec {
  /** Once in its link. */
  readonly name: string;
  readonly transport: TransportName;
  /** Where the node with the higher id accepts it, when that is not where it accepts the others. */
  readonly listen?: Address;
}

/** A link that differs from the others. */
export interface LinkSpec {
  /** The two nodes, in rising order. */
  readonly nodes: readonly [number, number];
  /** At least one; each is preferred to those behind it. */
  readonly paths: readonly PathSpec[];
}

interface ServiceBase {
  readonly name: string;
  readonly node: number;
}

/** A file system server. */
export interface FsServiceSpec extends ServiceBase, FsOptions {
  readonly kind: 'fs';
  readonly slot: number;
  /** Absolute path of an ext4 image or of a device; `ram:SIZE` for a volume in memory. */
  readonly image: string;
}

/** A mount of a file system server's tree. */
export interface FuseServiceSpec extends ServiceBase {
  readonly kind: 'fuse';
  /** A fixed slot, or null for any free one of the node. */
  readonly slot: number | null;
  /** Name and slot of the file system server, which is in the same container. */
  readonly server: string;
  readonly serverSlot: number;
  /** Absolute path of the mount point. */
  readonly mount: string;
  readonly readOnly: boolean;
  /** Nobody changes the volume: its server only reads it. */
  readonly constant: boolean;
  readonly allowOther: boolean;
  /** What it promises about changes that are made elsewhere. */
  readonly coherence: Coherence;
  /** What it keeps at most; by default as `MOUNT_MEMORY` says. */
  readonly memory?: Partial<MountMemory>;
  /** It is not in the spec: it was added to a DVS that runs. */
  readonly added?: boolean;
  /** Who alone may use it, in place of who runs the DVS. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

export type ServiceSpec = FsServiceSpec | FuseServiceSpec;

export interface ContainerSpec {
  readonly id: number;
  readonly name: string;
  /** Members, in rising order. */
  readonly nodes: readonly number[];
  readonly processes: number;
  readonly arenaBytes: number;
  readonly services: readonly ServiceSpec[];
}

export interface DvsSpec {
  readonly dvs: string;
  readonly nodes: readonly NodeSpec[];
  /** Of every link that is not in `links`. */
  readonly transport: TransportName;
  readonly links: readonly LinkSpec[];
  /** Of all links over Ethernet. */
  readonly etherType: number;
  /** How long calls wait for a node that is not reached; by default as long as proxies say. */
  readonly holdMs?: number;
  /** What links pack by LZ4; by default what proxies say. */
  readonly compress?: (typeof COMPRESS)[number];
  readonly compressSealed?: (typeof COMPRESS_SEALED)[number];
  readonly containers: readonly ContainerSpec[];
}

export interface SpecSource {
  /** How the file is called in error messages. */
  readonly file: string;
  /** What relative paths in the spec start from. */
  readonly directory: string;
  /** Takes the place of the spec's own `dvs`. */
  readonly name?: string;
}

const DVS_KEYS: KeyTable = {
  dvs: { doc: 'name of the DVS' },
  nodes: { required: true, doc: 'list of nodes' },
  transport: { doc: 'tcp, udp or ethernet, for all links' },
  links: { doc: 'links that differ from the others' },
  etherType: { doc: 'number of the frames of links over Ethernet' },
  holdMs: { doc: 'how long calls wait for a node that is not reached' },
  compress: { doc: 'whether links pack by LZ4: off, auto or on' },
  compressSealed: { doc: 'what sealed links may pack: off, copies or all' },
  containers: { doc: 'list of distributed containers' },
};
const NODE_KEYS: KeyTable = {
  id: { required: true, doc: 'number of the node' },
  name: { doc: 'by default node and the id' },
  listen: { doc: 'HOST:PORT for links; port 0 takes a free one' },
  ethernet: { doc: 'interface of links over Ethernet, as eth1' },
};
const LINK_KEYS: KeyTable = {
  nodes: { required: true, doc: 'ids of two nodes' },
  transport: { doc: 'tcp, udp or ethernet' },
  paths: { doc: 'list of paths, the preferred one first' },
};
const PATH_KEYS: KeyTable = {
  transport: { required: true, doc: 'tcp, udp or ethernet' },
  name: { doc: 'by default as its transport' },
  listen: { doc: 'HOST:PORT where the node with the higher id accepts it' },
};
const CONTAINER_KEYS: KeyTable = {
  name: { required: true, doc: 'name of the container' },
  id: { doc: 'by default the place in the list' },
  nodes: { doc: 'ids of the members; by default all nodes' },
  processes: { doc: 'process slots' },
  arena: { doc: 'shared memory for buffers' },
  services: { doc: 'list of services' },
};
const SERVICE_KEYS: KeyTable = {
  name: { required: true, doc: 'name of the service' },
  kind: { required: true, doc: 'fs or fuse' },
  node: { required: true, doc: 'id of the node that it runs on' },
};
const KIND_KEYS = {
  fs: FS_KEYS,
  fuse: {
    slot: { doc: 'fixed slot; by default any free one' },
    server: { required: true, doc: 'name of the fs service to mount' },
    mount: { required: true, doc: 'directory to mount on' },
    readOnly: { doc: 'true: nothing can be changed through this mount' },
    allowOther: { doc: 'true: other users may use the mount' },
    coherence: { doc: 'strict: changes made elsewhere are seen at once; or close-to-open' },
    memory: MOUNT_MEMORY_KEY,
  },
} as const satisfies Record<string, KeyTable>;
type Kind = keyof typeof KIND_KEYS;
const KINDS = Object.keys(KIND_KEYS) as Kind[];
const ANY_KIND_KEYS: KeyTable = Object.fromEntries(
  KINDS.flatMap((kind) => Object.entries(optionalKeys(kind))),
);

const NODES_MAX = LIMITS.NODES_MAX[0];
const PROCESSES_MIN = LIMITS.SYSTEM_PROCESSES[0] + 64;
const PROCESSES_MAX = LIMITS.PROCESSES_MAX[0];
const ARENA_RANGE = [2 ** 20, 2 ** 36] as const;
const PAGE_BYTES = 4096;
const FIXED_SLOT_RANGE = [0, LIMITS.SYSTEM_PROCESSES[0] - 1] as const;
const DC_ID_RANGE = [0, 1023] as const;
/** What `holdMs` may be; the same as proxies take. */
export const HOLD_MS_RANGE = [0, 600_000] as const;
/** What `compress` and `compressSealed` may be; the same. */
const COMPRESS = ['off', 'auto', 'on'] as const;
const COMPRESS_SEALED = ['off', 'copies', 'all'] as const;
const PATHS_MAX = 8;
const DEFAULT_LISTEN: Address = { host: '127.0.0.1', port: 0 };

function optionalKeys(kind: Kind): KeyTable {
  const keys: KeyTable = KIND_KEYS[kind];
  return Object.fromEntries(Object.entries(keys).map(([key, { doc }]) => [key, { doc }]));
}

/** What must be different in the whole DVS. */
interface Seen {
  readonly containerNames: Map<string, Place>;
  readonly containerIds: Map<number, Place>;
  readonly services: Map<string, Place>;
  readonly images: Map<string, Place>;
  readonly mounts: Map<string, Place>;
}

/** All that a node's proxy must listen on, the one of most links first. */
export function transportsOf(spec: DvsSpec, node: number): TransportName[] {
  const own = spec.links.filter(({ nodes }) => nodes.includes(node));
  const paths = own.flatMap((link) => link.paths);
  return [...new Set([spec.transport, ...paths.map(({ transport }) => transport)])];
}

function freeName(transport: string, taken: ReadonlyMap<string, unknown>): string {
  if (!taken.has(transport)) return transport;
  for (let number = 2; ; number++) {
    const name = `${transport}-${String(number)}`;
    if (!taken.has(name)) return name;
  }
}

/** Reads a spec. Throws SpecError. */
export function parseSpec(text: string, source: SpecSource): DvsSpec {
  const reader = new SpecReader(source.file, text);
  if (reader.problems.length > 0) reader.finish();
  const spec = new DvsReader(reader, source).read();
  reader.finish();
  return spec;
}

/** Reads the document from the top down; each part checks its references to the parts above. */
class DvsReader {
  readonly #reader: SpecReader;
  readonly #source: SpecSource;
  readonly #nodes = new Map<number, NodeSpec>();
  readonly #nodePlaces = new Map<number, Place>();
  readonly #addresses = new Map<string, Place>();
  readonly #seen: Seen = {
    containerNames: new Map(),
    containerIds: new Map(),
    services: new Map(),
    images: new Map(),
    mounts: new Map(),
  };

  constructor(reader: SpecReader, source: SpecSource) {
    this.#reader = reader;
    this.#source = source;
  }

  read(): DvsSpec {
    const root = this.#reader.root();
    const fields = this.#reader.fields(root, DVS_KEYS);
    const written = this.#reader.name(fields.get('dvs'));
    const dvs = this.#source.name ?? written;
    if (dvs === undefined && !fields.has('dvs') && fields.size > 0) {
      this.#reader.report(root, 'dvs is missing', 'add "dvs: NAME", or use --name');
    }
    this.#readNodes(fields.get('nodes'));
    const transport = this.#reader.choice(fields.get('transport'), TRANSPORTS) ?? 'tcp';
    const links = this.#links(fields.get('links'));
    const etherType =
      this.#reader.integer(fields.get('etherType'), ETHER_TYPE_RANGE) ?? DEFAULT_ETHER_TYPE;
    const containers = this.#reader
      .list(fields.get('containers'), 'containers')
      .map((place, index) => this.#container(place, index));
    const holdMs = this.#reader.integer(fields.get('holdMs'), HOLD_MS_RANGE);
    const nodes = [...this.#nodes.values()].sort(byId);
    const compress = this.#reader.choice(fields.get('compress'), COMPRESS);
    const compressSealed = this.#reader.choice(fields.get('compressSealed'), COMPRESS_SEALED);
    const settings = {
      ...(holdMs !== undefined && { holdMs }),
      ...(compress && { compress }),
      ...(compressSealed && { compressSealed }),
    };
    const spec = { dvs: dvs ?? '', nodes, transport, links, etherType, ...settings, containers };
    this.#checkInterfaces(spec);
    return spec;
  }

  #checkInterfaces(spec: DvsSpec): void {
    for (const { id, ethernet } of spec.nodes) {
      const at = this.#nodePlaces.get(id);
      if (at === undefined || ethernet !== undefined) continue;
      if (!transportsOf(spec, id).includes('ethernet')) continue;
      const what = `node ${String(id)} has links over Ethernet, and no interface`;
      this.#reader.report(at, what, 'add "ethernet: INTERFACE"');
    }
  }

  #links(at: Place | undefined): LinkSpec[] {
    const seen = new Map<string, Place>();
    return this.#reader.list(at, 'links').flatMap((place) => {
      const fields = this.#reader.fields(place, LINK_KEYS);
      const paths = this.#pathsOf(place, fields);
      const pair = this.#pair(fields.get('nodes'));
      this.#reader.unique(seen, pair?.join(' and '), fields.get('nodes'), 'the link of');
      return pair === undefined || paths.length === 0 ? [] : [{ nodes: pair, paths }];
    });
  }

  #pathsOf(at: Place, fields: Fields): PathSpec[] {
    const [single, list] = [fields.get('transport'), fields.get('paths')];
    const transport = this.#reader.choice(single, TRANSPORTS);
    if (list === undefined) {
      if (single === undefined && fields.size > 0) {
        const remedy = 'add "transport: udp", or "paths:" with a list';
        this.#reader.report(at, 'it says neither transport nor paths', remedy);
      }
      return transport === undefined ? [] : [{ name: transport, transport }];
    }
    if (single !== undefined) {
      this.#reader.report(single, 'a link has a transport or paths', 'write it into the paths');
    }
    const places = this.#reader.list(list, 'paths');
    if (places.length === 0 || places.length > PATHS_MAX) {
      const what = `a link has 1 to ${String(PATHS_MAX)} paths`;
      this.#reader.report(list, what, 'list each with its transport');
    }
    const seen = { names: new Map<string, Place>(), ways: new Map<string, Place>() };
    return places.flatMap((place) => this.#pathOf(place, seen));
  }

  #pathOf(
    at: Place,
    { names, ways }: { names: Map<string, Place>; ways: Map<string, Place> },
  ): PathSpec[] {
    const fields = this.#reader.fields(at, PATH_KEYS);
    const transport = this.#reader.choice(fields.get('transport'), TRANSPORTS);
    const written = this.#reader.name(fields.get('name'));
    const place = fields.get('listen');
    const listen = this.#reader.address(place);
    if (transport === undefined) return [];
    if (place !== undefined && transport === 'ethernet') {
      this.#reader.report(place, 'a path over Ethernet has no address', 'leave listen out');
    } else if (place !== undefined && listen?.port === 0) {
      this.#reader.report(place, 'the address of a path needs a port', 'write it as 10.1.0.2:7000');
    }
    const address = listen && formatAddress(listen);
    this.#reader.unique(this.#addresses, address, place, 'address');
    const way = listen ? undefined : `over ${transport} to the usual address`;
    this.#reader.unique(ways, way, fields.get('transport'), 'a path');
    const name = written ?? freeName(transport, names);
    this.#reader.unique(names, name, fields.get('name') ?? at, 'path name');
    return [{ name, transport, ...(listen && { listen }) }];
  }

  #pair(at: Place | undefined): [number, number] | undefined {
    if (at === undefined) return undefined;
    const [one, other, ...more] = this.#members(at);
    if (one !== undefined && other !== undefined && more.length === 0) return [one, other];
    this.#reader.report(at, 'a link is between two nodes', 'list two different node ids');
    return undefined;
  }

  #readNodes(at: Place | undefined): void {
    const ids = new Map<number, Place>();
    const names = new Map<string, Place>();
    const places = this.#reader.list(at, 'nodes');
    for (const place of places) {
      const fields = this.#reader.fields(place, NODE_KEYS);
      const id = this.#reader.integer(fields.get('id'), [0, NODES_MAX - 1]);
      const name = this.#reader.name(fields.get('name'));
      const listen = this.#listen(fields.get('listen'));
      this.#reader.unique(ids, id, fields.get('id'), 'node id');
      this.#reader.unique(names, name, fields.get('name'), 'node name');
      const fixed = listen.port === 0 ? undefined : formatAddress(listen);
      this.#reader.unique(this.#addresses, fixed, fields.get('listen'), 'address');
      const ethernet = this.#reader.ethernet(fields.get('ethernet'));
      if (id === undefined || this.#nodes.has(id)) continue;
      const link = ethernet && { ethernet };
      this.#nodes.set(id, { id, name: name ?? `node${String(id)}`, listen, ...link });
      this.#nodePlaces.set(id, place);
    }
    if (at !== undefined && places.length === 0) {
      this.#reader.report(at, 'there are no nodes', 'add at least "- { id: 0 }"');
    }
  }

  #listen(at: Place | undefined): Address {
    return this.#reader.address(at) ?? DEFAULT_LISTEN;
  }

  #container(at: Place, index: number): ContainerSpec {
    const reader = this.#reader;
    const fields = reader.fields(at, CONTAINER_KEYS);
    const name = reader.name(fields.get('name'));
    const id = reader.integer(fields.get('id'), DC_ID_RANGE) ?? index;
    reader.unique(this.#seen.containerNames, name, fields.get('name'), 'container name');
    reader.unique(this.#seen.containerIds, id, fields.get('id') ?? at, 'container id');
    const nodes = this.#members(fields.get('nodes'));
    return {
      id,
      name: name ?? '',
      nodes,
      processes: this.#processes(fields.get('processes')),
      arenaBytes: this.#arena(fields.get('arena')),
      services: this.#services(fields.get('services'), nodes),
    };
  }

  #members(at: Place | undefined): number[] {
    if (at === undefined) return [...this.#nodes.keys()].sort((a, b) => a - b);
    const seen = new Map<number, Place>();
    for (const place of this.#reader.list(at, 'nodes')) {
      const id = this.#reader.integer(place, [0, NODES_MAX - 1]);
      this.#reader.unique(seen, id, place, 'node');
      if (id !== undefined && !this.#nodes.has(id)) this.#noSuchNode(place, id);
    }
    if (seen.size === 0) this.#reader.report(at, 'it has no members', 'list at least one node id');
    return [...seen.keys()].sort((a, b) => a - b);
  }

  #noSuchNode(at: Place, id: number): void {
    const known = [...this.#nodes.keys()].slice(0, 16).join(', ');
    const remedy = `add it to nodes, or use one of ${known}`;
    this.#reader.report(at, `there is no node ${String(id)}`, remedy);
  }

  #processes(at: Place | undefined): number {
    const count = this.#reader.integer(at, [PROCESSES_MIN, PROCESSES_MAX]);
    if (at === undefined || count === undefined) return LIMITS.PROCESSES_DEFAULT[0];
    if (count % 64 !== 0) {
      const near = String(Math.ceil(count / 64) * 64);
      this.#reader.report(at, `${String(count)} is no multiple of 64`, `use ${near}`);
    }
    return count;
  }

  #arena(at: Place | undefined): number {
    const bytes = this.#reader.size(at, ARENA_RANGE) ?? LIMITS.ARENA_BYTES_DEFAULT[0];
    return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
  }

  #services(at: Place | undefined, members: readonly number[]): ServiceSpec[] {
    const slots = new Map<number, Place>();
    const servers = new Map<string, FsServiceSpec>();
    const services: ServiceSpec[] = [];
    const mounts: Fields[] = [];
    for (const place of this.#reader.list(at, 'services')) {
      const kind = this.#kind(place);
      const keys = kind === undefined ? ANY_KIND_KEYS : KIND_KEYS[kind];
      const fields = this.#reader.fields(place, { ...SERVICE_KEYS, ...keys });
      const slot = this.#reader.integer(fields.get('slot'), FIXED_SLOT_RANGE);
      this.#reader.unique(slots, slot, fields.get('slot'), 'slot');
      const base = this.#serviceBase(fields, members);
      if (kind === 'fs') {
        const image = this.#image(fields.get('image'));
        const options = readFsOptions(this.#reader, fields);
        const service = { ...base, kind, slot: slot ?? 0, image, ...options };
        servers.set(service.name, service);
        services.push(service);
      } else if (kind === 'fuse') {
        mounts.push(fields);
        services.push(this.#fuse(fields, { ...base, slot: slot ?? null }));
      }
    }
    return this.#resolveServers(services, servers, mounts);
  }

  // The kind decides which other keys there may be, so it is read first.
  #kind(at: Place): Kind | undefined {
    const every = { ...SERVICE_KEYS, ...ANY_KIND_KEYS };
    const problems = this.#reader.problems.length;
    const kind = this.#reader.fields(at, every).get('kind');
    this.#reader.problems.length = problems;
    return this.#reader.choice(kind, KINDS);
  }

  #serviceBase(fields: Fields, members: readonly number[]): ServiceBase {
    const name = this.#reader.name(fields.get('name'));
    this.#reader.unique(this.#seen.services, name, fields.get('name'), 'service name');
    const at = fields.get('node');
    const node = this.#reader.integer(at, [0, NODES_MAX - 1]);
    if (at !== undefined && node !== undefined) {
      if (!this.#nodes.has(node)) this.#noSuchNode(at, node);
      else if (!members.includes(node)) {
        const remedy = `add it to the container's nodes, or use one of ${members.join(', ')}`;
        this.#reader.report(at, `node ${String(node)} is no member of the container`, remedy);
      }
    }
    return { name: name ?? '', node: node ?? 0 };
  }

  #path(at: Place | undefined, wanted: string): string {
    const text = this.#reader.text(at, wanted);
    if (text === undefined) return '';
    return resolve(this.#source.directory, text);
  }

  #image(at: Place | undefined): string {
    const text = this.#reader.text(at, 'the path of an image');
    if (text === undefined || isRam(text)) return text ?? '';
    const image = resolve(this.#source.directory, text);
    this.#reader.unique(this.#seen.images, image, at, 'image');
    return image;
  }

  #fuse(fields: Fields, base: ServiceBase & { slot: number | null }): FuseServiceSpec {
    const at = fields.get('mount');
    const mount = this.#path(at, 'the path of a directory');
    if (mount !== '') this.#reader.unique(this.#seen.mounts, mount, at, 'mount point');
    if (at !== undefined && mount === '/') {
      this.#reader.report(at, 'a mount on / would hide this machine', 'choose another directory');
    }
    const memory = readMountMemory(this.#reader, fields.get('memory'));
    return {
      ...base,
      kind: 'fuse',
      server: this.#reader.name(fields.get('server')) ?? '',
      serverSlot: 0,
      mount,
      readOnly: this.#reader.flag(fields.get('readOnly')) ?? false,
      constant: false,
      allowOther: this.#reader.flag(fields.get('allowOther')) ?? false,
      coherence: this.#reader.choice(fields.get('coherence'), COHERENCES) ?? 'close-to-open',
      ...(memory && { memory }),
    };
  }

  // A mount may come before its server in the list, so references are resolved last.
  #resolveServers(
    services: readonly ServiceSpec[],
    servers: ReadonlyMap<string, FsServiceSpec>,
    mounts: readonly Fields[],
  ): ServiceSpec[] {
    let next = 0;
    return services.map((service) => {
      if (service.kind !== 'fuse') return service;
      const at = mounts[next++]?.get('server');
      const server = servers.get(service.server);
      if (server === undefined && at !== undefined && service.server !== '') {
        const known = [...servers.keys()].join(', ');
        const remedy = known === '' ? 'add a service of kind fs' : `use one of ${known}`;
        this.#reader.report(
          at,
          `no fs service of this container is called ${service.server}`,
          remedy,
        );
      }
      const constant = server?.readOnly === true;
      const readOnly = service.readOnly || constant;
      return { ...service, serverSlot: server?.slot ?? 0, readOnly, constant };
    });
  }
}

function byId(a: { id: number }, b: { id: number }): number {
  return a.id - b.id;
}
