// The spec: what it gives for a good document, and that every mistake is named with line, key and
// remedy.
import { describe, expect, it } from 'vitest';
import { formatSize, parseSize, parseSpec, SpecError } from '../../src/vos/spec.ts';
import { HOLD_RANGE } from '../../src/proxies/settings.ts';
import { extraAddressesOf, pathsBetween } from '../../src/vos/spec-links.ts';
import { HOLD_MS_RANGE, transportsOf, type DvsSpec } from '../../src/vos/spec.ts';

const SOURCE = { file: 'demo.yaml', directory: '/srv/dvs' };

function parse(lines: readonly string[], more: object = {}): DvsSpec {
  return parseSpec(lines.join('\n'), { ...SOURCE, ...more });
}

function problems(lines: readonly string[], more: object = {}): string[] {
  try {
    parse(lines, more);
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    return error.message.split('\n');
  }
  return [];
}

function levels(count: number): string[] {
  return Array.from({ length: count }, (_, level) => `${' '.repeat(level)}a:`);
}

const MINIMAL = ['dvs: demo', 'nodes: [{ id: 0 }, { id: 1 }]'];
const THREE_ENDS = ['links: [{ nodes: [0, 1, 2], transport: tcp }]'];

const NINE_PATHS = Array(9).fill('{ transport: udp }').join(', ');
const TWICE_X = '{ transport: tcp, name: x }, { transport: udp, name: x }';
const pathAt = (transport: string, listen: string): string =>
  `{ transport: ${transport}, listen: "${listen}" }`;

const linkOver =
  (transport: string) =>
  (nodes: string): string =>
    `  - { nodes: ${nodes}, transport: ${transport} }`;
const CONTAINER = [...MINIMAL, 'containers:', '  - name: mol'];
const SERVICES = [
  ...CONTAINER,
  '    services:',
  '      - { name: fs, kind: fs, node: 1, slot: 1, image: ./demo.img }',
];

describe('parseSpec', () => {
  it('fills in every default and resolves paths and references', () => {
    const spec = parse([
      ...SERVICES,
      '      - { name: root, kind: fuse, node: 0, server: fs, mount: ./mnt }',
    ]);

    expect(spec).toEqual({
      dvs: 'demo',
      nodes: [
        { id: 0, name: 'node0', listen: { host: '127.0.0.1', port: 0 } },
        { id: 1, name: 'node1', listen: { host: '127.0.0.1', port: 0 } },
      ],
      transport: 'tcp',
      links: [],
      etherType: 0x88b5,
      containers: [
        {
          id: 0,
          name: 'mol',
          nodes: [0, 1],
          processes: 1024,
          arenaBytes: 1073741824,
          services: [
            {
              ...{ name: 'fs', kind: 'fs', node: 1, slot: 1 },
              ...{ image: '/srv/dvs/demo.img', readOnly: false },
            },
            {
              name: 'root',
              kind: 'fuse',
              node: 0,
              slot: null,
              server: 'fs',
              serverSlot: 1,
              mount: '/srv/dvs/mnt',
              readOnly: false,
              constant: false,
              allowOther: false,
              coherence: 'close-to-open',
            },
          ],
        },
      ],
    });
  });

  it('accepts a mount that stands before its server', () => {
    const spec = parse([
      ...CONTAINER,
      '    services:',
      '      - { name: root, kind: fuse, node: 0, server: fs, mount: ./mnt }',
      '      - { name: fs, kind: fs, node: 1, slot: 7, image: ./demo.img }',
    ]);

    expect(spec.containers[0]?.services[0]).toMatchObject({ name: 'root', serverSlot: 7 });
  });

  it('takes what a server and a mount may keep', () => {
    const spec = parse([
      ...CONTAINER,
      '    services:',
      '      - { name: fs, kind: fs, node: 1, slot: 7, image: a,',
      '          memory: { windows: 0, cache: 8 MiB } }',
      '      - { name: root, kind: fuse, node: 0, server: fs, mount: m,',
      '          memory: { writes: 2 MiB } }',
    ]);

    const [server, mount] = spec.containers[0]?.services ?? [];
    expect(server?.memory).toEqual({ windows: 0, cache: 8 << 20 });
    expect(mount?.memory).toEqual({ writes: 2 << 20 });
  });

  it('takes volumes in memory, as many as wanted of the same size', () => {
    const spec = parse([
      ...CONTAINER,
      '    services:',
      '      - { name: one, kind: fs, node: 1, slot: 7, image: "ram:64 MiB" }',
      '      - { name: two, kind: fs, node: 1, slot: 8, image: "ram:64 MiB" }',
    ]);

    const volume = { image: 'ram:64 MiB', ramBytes: 64 << 20 };
    expect(spec.containers[0]?.services).toMatchObject([volume, volume]);
  });

  it('mounts a server that only reads to read only', () => {
    const spec = parse([
      ...CONTAINER,
      '    services:',
      '      - { name: root, kind: fuse, node: 0, server: fs, mount: ./mnt }',
      '      - { name: fs, kind: fs, node: 1, slot: 7, image: ./demo.img, readOnly: true }',
    ]);

    expect(spec.containers[0]?.services).toMatchObject([
      { readOnly: true, constant: true },
      { readOnly: true },
    ]);
  });

  it('takes the name of the DVS from the caller when one is given', () => {
    expect(parse(['nodes: [{ id: 0 }]'], { name: 'other' }).dvs).toBe('other');
    expect(parse(MINIMAL, { name: 'other' }).dvs).toBe('other');
  });

  it('sorts nodes and members by number', () => {
    const spec = parse([
      'dvs: demo',
      'nodes: [{ id: 2 }, { id: 0 }]',
      'containers: [{ name: mol, nodes: [2, 0] }]',
    ]);

    expect(spec.nodes.map(({ id }) => id)).toEqual([0, 2]);
    expect(spec.containers[0]?.nodes).toEqual([0, 2]);
  });

  it('reports every problem of a document at once, by rising line', () => {
    const found = problems([
      'dvs: "no spaces"',
      'nodes:',
      '  - { id: 0, lissten: 127.0.0.1:0 }',
      '  - { id: 5000 }',
    ]);

    expect(found).toEqual([
      'demo.yaml:1: key dvs: "no spaces" is not usable as a name; ' +
        'use 1 to 15 letters, digits, - and _, a letter or digit first',
      'demo.yaml:3: key nodes[0].lissten: there is no such key; write listen',
      'demo.yaml:4: key nodes[1].id: 5000 is out of range or no number; ' +
        'give a whole number from 0 to 1023',
    ]);
  });
});

describe('a problem of a spec', () => {
  const cases: readonly (readonly [string, readonly string[], string])[] = [
    ['names the line of a syntax error', ['dvs: demo', 'nodes: [{ id: 0 }'], ':2: not valid YAML'],
    ['tells of an empty document', [''], ':1: this is not a map; write "key: value" lines'],
    ['tells of a list where a map belongs', ['- a'], ':1: this is not a map'],
    [
      'tells of a map where a list belongs',
      ['dvs: x', 'nodes: {}'],
      'key nodes: this is not a list',
    ],
    ['tells of a missing key', ['nodes: [{ id: 0 }]'], ':1: dvs is missing; add "dvs: NAME"'],
    ['tells of missing nodes', ['dvs: demo'], ':1: nodes is missing; add "nodes: ..."'],
    ['tells of an empty list of nodes', ['dvs: demo', 'nodes: []'], 'there are no nodes; add'],
    ['tells of a key without a value', ['dvs:', 'nodes: [{ id: 0 }]'], 'key dvs: it has no value'],
    ['tells of a key that is given twice', ['dvs: a', 'dvs: b'], ':2: not valid YAML: Map keys'],
    ['tells of a number where a name belongs', ['dvs: 7', 'nodes: [{ id: 0 }]'], 'in quotes'],
    [
      'tells of two nodes with one id',
      ['dvs: d', 'nodes: [{ id: 1 }, { id: 1 }]'],
      'node id 1 is taken by nodes[0].id in line 2; choose another one',
    ],
    [
      'tells of a bad address',
      ['dvs: d', 'nodes: [{ id: 1, listen: "here" }]'],
      '"here" is no address; write it as 127.0.0.1:7000',
    ],
    [
      'tells of an unknown transport',
      [...MINIMAL, 'transport: utp'],
      'key transport: "utp" is not known; write udp',
    ],
    [
      'tells of a node without an interface',
      ['dvs: d', 'nodes: [{ id: 3 }]', 'transport: ethernet'],
      ':2: key nodes[0]: node 3 has links over Ethernet, and no interface; ' +
        'add "ethernet: INTERFACE"',
    ],
    [
      'tells of a name that no interface can have',
      ['dvs: d', 'nodes: [{ id: 0, ethernet: "eth0:1" }]'],
      '"eth0:1" is no interface; write it as eth1, or as eth1/02:00:00:00:00:01',
    ],
    [
      'tells of an address that no interface can have',
      ['dvs: d', 'nodes: [{ id: 0, ethernet: eth0/01:00:00:00:00:01 }]'],
      '"eth0/01:00:00:00:00:01" is no interface',
    ],
    [
      'tells of an EtherType that is a length',
      [...MINIMAL, 'etherType: 1500'],
      'key etherType: 1500 is out of range or no number; ' +
        'give a whole number from 1536 to 65535',
    ],
    [
      'tells of a link between more than two nodes',
      ['dvs: d', 'nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]', ...THREE_ENDS],
      'key links[0].nodes: a link is between two nodes; list two different node ids',
    ],
    [
      'tells of a link with an unknown node',
      [...MINIMAL, 'links: [{ nodes: [0, 7], transport: tcp }]'],
      'key links[0].nodes[1]: there is no node 7',
    ],
    [
      'tells of a link that is given twice',
      [...MINIMAL, 'links:', ...['[0, 1]', '[1, 0]'].map(linkOver('tcp'))],
      'key links[1].nodes: the link of 0 and 1 is taken by links[0].nodes in line 4',
    ],
    [
      'tells of a link without a transport',
      [...MINIMAL, 'links: [{ nodes: [0, 1] }]'],
      'key links[0]: it says neither transport nor paths; add "transport: udp", or "paths:"',
    ],
    [
      'tells of a link with a transport and paths',
      [...MINIMAL, 'links: [{ nodes: [0, 1], transport: tcp, paths: [{ transport: udp }] }]'],
      'key links[0].transport: a link has a transport or paths; write it into the paths',
    ],
    [
      'tells of a link with too many paths',
      [...MINIMAL, `links: [{ nodes: [0, 1], paths: [${NINE_PATHS}] }]`],
      'key links[0].paths: a link has 1 to 8 paths; list each with its transport',
    ],
    [
      'tells of two paths to one address',
      [...MINIMAL, 'links: [{ nodes: [0, 1], paths: [{ transport: tcp }, { transport: tcp }] }]'],
      'key links[0].paths[1].transport: a path over tcp to the usual address is taken by',
    ],
    [
      'tells of two paths of one name',
      [...MINIMAL, `links: [{ nodes: [0, 1], paths: [${TWICE_X}] }]`],
      'key links[0].paths[1].name: path name x is taken by links[0].paths[0].name',
    ],
    [
      'tells of a path whose address has no port',
      [...MINIMAL, `links: [{ nodes: [0, 1], paths: [${pathAt('tcp', '10.1.0.2:0')}] }]`],
      'key links[0].paths[0].listen: the address of a path needs a port; write it as',
    ],
    [
      'tells of a path over Ethernet with an address',
      [...MINIMAL, `links: [{ nodes: [0, 1], paths: [${pathAt('ethernet', '10.1.0.2:7')}] }]`],
      'key links[0].paths[0].listen: a path over Ethernet has no address; leave listen out',
    ],
    [
      'tells of a holdMs that is out of range',
      [...MINIMAL, 'holdMs: 600001'],
      'key holdMs: 600001 is out of range or no number; give a whole number from 0 to 600000',
    ],
    [
      'tells of a container with an unknown node',
      [...MINIMAL, 'containers: [{ name: m, nodes: [0, 9] }]'],
      'key containers[0].nodes[1]: there is no node 9; add it to nodes, or use one of 0, 1',
    ],
    [
      'tells of a container without members',
      [...MINIMAL, 'containers: [{ name: m, nodes: [] }]'],
      'it has no members',
    ],
    [
      'tells of a bad number of processes',
      [...CONTAINER, '    processes: 1000'],
      ':5: key containers[0].processes: 1000 is no multiple of 64; use 1024',
    ],
    [
      'tells of a bad size',
      [...CONTAINER, '    arena: 5 parsecs'],
      '"5 parsecs" is no size that fits here; give a size from 1 MiB to 64 GiB',
    ],
    [
      'tells of an unknown kind',
      [...CONTAINER, '    services: [{ name: a, kind: fsu, node: 0 }]'],
      '"fsu" is not known; write fs',
    ],
    [
      'tells of a slot that is taken',
      [...SERVICES, '      - { name: b, kind: fs, node: 0, slot: 1, image: b }'],
      ':7: key containers[0].services[1].slot: slot 1 is taken by containers[0].services[0].slot',
    ],
    [
      'tells of an image that is served twice',
      [...SERVICES, '      - { name: b, kind: fs, node: 0, slot: 2, image: demo.img }'],
      'image /srv/dvs/demo.img is taken by',
    ],
    [
      'tells of a service name that is taken',
      [...SERVICES, '      - { name: fs, kind: fs, node: 0, slot: 2, image: b }'],
      'service name fs is taken by',
    ],
    [
      'tells of a server that is not there',
      [...SERVICES, '      - { name: m, kind: fuse, node: 0, server: fz, mount: m }'],
      'no fs service of this container is called fz; use one of fs',
    ],
    [
      'tells of a key of another kind',
      [...CONTAINER, '    services: [{ name: a, kind: fs, node: 0, slot: 1, image: i, mount: m }]'],
      'services[0].mount: there is no such key; the keys are name, kind, node, slot, image',
    ],
    [
      'tells of a mount on the root',
      [...SERVICES, '      - { name: m, kind: fuse, node: 0, server: fs, mount: / }'],
      'a mount on / would hide this machine',
    ],
    [
      'tells of a flag that is none',
      [
        ...SERVICES,
        '      - { name: m, kind: fuse, node: 0, server: fs, mount: m, readOnly: maybe }',
      ],
      '"maybe" is neither true nor false',
    ],
    [
      'tells of an unknown tag',
      ['dvs: !secret x', 'nodes: [{ id: 0 }]'],
      'not valid YAML: Unresolved tag',
    ],
    ['tells of a spec that is far too large', ['#'.repeat(1 << 21)], 'larger than 256 KiB'],
    ['tells of brackets that go too deep', ['dvs: a', '['.repeat(1000)], ':2: it is nested too'],
    ['tells of lists that go too deep', ['- '.repeat(1000)], ':1: it is nested too deeply'],
    ['tells of keys that go too deep', ['? - &a '.repeat(1000)], ':1: it is nested too deeply'],
    ['tells of levels by indentation', levels(600), 'demo.yaml:1: key a: there is no such key'],
    [
      'a volume in memory that is too small',
      [...CONTAINER, '    services: [{ name: fs, kind: fs, node: 1, slot: 1, image: "ram:1MiB" }]'],
      'give ram: and a size from 8 MiB to 1 TiB',
    ],
    [
      'a volume in memory past the page cache',
      [
        ...CONTAINER,
        '    services:',
        '      - { name: fs, kind: fs, node: 1, slot: 1, image: "ram:9MiB", direct: true }',
      ],
      'leave direct out',
    ],
    [
      'a volume in memory that nobody writes to',
      [
        ...CONTAINER,
        '    services:',
        '      - { name: fs, kind: fs, node: 1, slot: 1, image: "ram:9MiB", readOnly: true }',
      ],
      'leave readOnly out',
    ],
    [
      'a quota of nothing',
      [
        ...CONTAINER,
        '    services:',
        '      - { name: fs, kind: fs, node: 1, slot: 1, image: a, quota: {} }',
      ],
      'it limits nothing; add "size: 1 GiB"',
    ],
    [
      'a quota that is no size',
      [
        ...CONTAINER,
        '    services:',
        '      - { name: fs, kind: fs, node: 1, slot: 1, image: a, quota: { size: much } }',
      ],
      'is no size that fits here',
    ],
    [
      'a quota of too few inodes',
      [
        ...CONTAINER,
        '    services:',
        '      - { name: fs, kind: fs, node: 1, slot: 1, image: a, quota: { inodes: 3 } }',
      ],
      'give a whole number from 16',
    ],
    [
      'memory that is too little',
      [
        ...CONTAINER,
        '    services:',
        '      - { name: fs, kind: fs, node: 1, slot: 1, image: a, memory: { cache: 1 MiB } }',
      ],
      'give a size from 4 MiB to 32 GiB',
    ],
    [
      'memory of a mount that has no size',
      [
        ...SERVICES,
        '      - { name: r, kind: fuse, node: 0, server: fs, mount: m, memory: { names: few } }',
      ],
      'give a whole number from 0',
    ],
    [
      'a quota with an unknown key',
      [
        ...CONTAINER,
        '    services:',
        '      - { name: fs, kind: fs, node: 1, slot: 1, image: a, quota: { bytes: 1 GiB } }',
      ],
      'there is no such key; the keys are size, inodes',
    ],
    [
      'a quota of a volume that is not written to',
      [
        ...CONTAINER,
        '    services:',
        '      - { name: fs, kind: fs, node: 1, slot: 1, image: a,',
        '          readOnly: true, quota: { size: 1 GiB } }',
      ],
      'leave quota or readOnly out',
    ],
  ];

  it.each(cases)('%s', (_, lines, expected) => {
    const found = problems(lines);

    expect(found.join('\n')).toContain(expected);
    for (const line of found) expect(line).toMatch(/^demo\.yaml:\d+: .+; .+/);
  });

  it('is a node outside of the container', () => {
    const found = problems([
      ...MINIMAL,
      'containers:',
      '  - name: mol',
      '    nodes: [0]',
      '    services: [{ name: fs, kind: fs, node: 1, slot: 1, image: i }]',
    ]);

    expect(found).toEqual([
      'demo.yaml:6: key containers[0].services[0].node: node 1 is no member of the container; ' +
        "add it to the container's nodes, or use one of 0",
    ]);
  });

  it('is no address beyond loopback', () => {
    const listen = (address: string): unknown =>
      parse(['dvs: d', `nodes: [{ id: 0, listen: "${address}" }]`]).nodes[0]?.listen;

    expect(listen('10.0.0.1:7000')).toEqual({ host: '10.0.0.1', port: 7000 });
    expect(listen('[::1]:7')).toEqual({ host: '::1', port: 7 });
  });

  it('is an alias, which could contain itself', () => {
    const found = problems(['dvs: demo', 'nodes: &all', '  - *all']);

    expect(found[0]).toContain('key nodes[0]: aliases are not read; write the value out');
  });
});

describe('the transport of a link', () => {
  const spec = parse([
    'dvs: demo',
    'nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]',
    'transport: udp',
    'links:',
    linkOver('tcp')('[2, 1]'),
  ]);

  it('is the one of the DVS, unless the link has its own', () => {
    expect(pathsBetween(spec, 0, 1)).toEqual([{ name: 'udp', transport: 'udp' }]);
    expect(pathsBetween(spec, 1, 2)).toEqual([{ name: 'tcp', transport: 'tcp' }]);
    expect(pathsBetween(spec, 2, 1)).toEqual(pathsBetween(spec, 1, 2));
  });

  it('decides what a node listens on', () => {
    expect([0, 1, 2].map((node) => transportsOf(spec, node))).toEqual([
      ['udp'],
      ['udp', 'tcp'],
      ['udp', 'tcp'],
    ]);
  });
});

describe('the paths of a link', () => {
  const spec = parse([
    'dvs: demo',
    'nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]',
    'links:',
    '  - nodes: [0, 1]',
    '    paths:',
    '      - { transport: tcp }',
    '      - { transport: tcp, listen: "10.1.0.2:7000" }',
    '      - { transport: udp, name: spare }',
    'holdMs: 2500',
  ]);

  it('are in order of preference, and have names', () => {
    expect(pathsBetween(spec, 1, 0)).toEqual([
      { name: 'tcp', transport: 'tcp' },
      { name: 'tcp-2', transport: 'tcp', listen: { host: '10.1.0.2', port: 7000 } },
      { name: 'spare', transport: 'udp' },
    ]);
  });

  it('decide where the node with the higher id listens', () => {
    expect(transportsOf(spec, 0)).toEqual(['tcp', 'udp']);
    expect(transportsOf(spec, 2)).toEqual(['tcp']);
    expect([0, 1, 2].map((node) => extraAddressesOf(spec, node))).toEqual([
      [],
      [{ host: '10.1.0.2', port: 7000 }],
      [],
    ]);
  });
});

describe('holdMs', () => {
  it('is left to the proxies when the spec does not say it, and what they take', () => {
    expect(parse(MINIMAL).holdMs).toBeUndefined();
    expect(parse([...MINIMAL, 'holdMs: 0']).holdMs).toBe(0);
    expect(HOLD_MS_RANGE).toEqual([HOLD_RANGE.min, HOLD_RANGE.max]);
  });
});

describe('a link over Ethernet', () => {
  it('is between interfaces, whose addresses may be given', () => {
    const spec = parse([
      'dvs: demo',
      'nodes:',
      '  - { id: 0, ethernet: eth1 }',
      '  - { id: 1, ethernet: eth1/02:00:00:00:00:01 }',
      '  - { id: 2 }',
      'links: [{ nodes: [0, 1], transport: ethernet }]',
      'etherType: 0x88B6',
    ]);

    expect(spec.nodes.map(({ ethernet }) => ethernet)).toEqual([
      { interface: 'eth1' },
      { interface: 'eth1', address: '02:00:00:00:00:01' },
      undefined,
    ]);
    expect(spec.etherType).toBe(0x88b6);
    expect(transportsOf(spec, 1)).toEqual(['tcp', 'ethernet']);
  });
});

describe('sizes', () => {
  it('have units of 1024 and of 1000', () => {
    expect(parseSize('256 MiB')).toBe(268435456);
    expect(parseSize('1.5GiB')).toBe(1610612736);
    expect(parseSize('4kB')).toBe(4000);
    expect(parseSize('512')).toBe(512);
  });

  it.each(['', 'MiB', '1 XB', '-1', '1e9', '9'.repeat(30), '0.3 B'])('are not %j', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  it('are shown in the largest unit that fits', () => {
    expect(formatSize(268435456)).toBe('256 MiB');
    expect(formatSize(1610612736)).toBe('1.5 GiB');
    expect(formatSize(0)).toBe('0 B');
  });
});
