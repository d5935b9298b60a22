/**
 * Writes what the languages and the reader share from `schema.ts`: the C++ header, the TypeScript
 * constants, the constants of the C interface, docs/wire.md.
 *
 * `node dist/src/dvk/abi/generate.js [--check]`: with --check nothing is written, and a difference
 * ends with exit code 1.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import {
  ABI_VERSION,
  COMMANDS,
  CONSTANTS,
  ENDPOINTS,
  ERRORS,
  LIMITS,
  STRUCTS,
  type FieldType,
  type StructSchema,
} from './schema.ts';

interface Field {
  name: string;
  type: FieldType;
  doc: string;
  at: number;
  bytes: number;
}

const SCALARS = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8 } as const;
const CPP = {
  u8: 'uint8_t',
  u16: 'uint16_t',
  u32: 'uint32_t',
  i32: 'int32_t',
  u64: 'uint64_t',
} as const;

function isScalar(type: FieldType): type is keyof typeof SCALARS {
  return type in SCALARS;
}

function sizeOf(type: FieldType): { bytes: number; align: number } {
  if (isScalar(type)) return { bytes: SCALARS[type], align: SCALARS[type] };
  if (type === 'name') return { bytes: LIMITS.NAME_BYTES[0], align: 1 };
  if (type === 'message') return { bytes: LIMITS.MESSAGE_BYTES[0], align: 8 };
  return { bytes: Number(/\d+(?=\])/.exec(type)?.[0]), align: 1 };
}

/**
 * Offsets of a struct; throws when a field is not naturally aligned or the size is not the declared
 * one.
 */
function layout(name: string, bytes: number, schema: StructSchema): Field[] {
  let at = 0;
  const fields = schema.map(([field, type, doc]) => {
    const size = sizeOf(type);
    if (at % size.align !== 0) throw new Error(`${name}.${field} is not aligned: offset ${at}`);
    const entry = { name: field, type, doc, at, bytes: size.bytes };
    at += size.bytes;
    return entry;
  });
  if (at !== bytes) throw new Error(`${name} is declared with ${bytes} bytes and has ${at}`);
  return fields;
}

const LAYOUTS = Object.entries(STRUCTS).map(([name, [bytes, schema, doc]]) => ({
  name,
  bytes,
  doc,
  fields: layout(name, bytes, schema),
}));

const camel = (name: string): string =>
  name.toLowerCase().replace(/_(\w)/g, (_, c: string) => c.toUpperCase());
const constant = (name: string): string => `k${camel(name).replace(/^./, (c) => c.toUpperCase())}`;

function cppField(field: Field): string {
  if (isScalar(field.type)) return `${CPP[field.type]} ${field.name};`;
  if (field.type === 'name') return `char ${field.name}[${field.bytes}];`;
  if (field.type === 'message') return `Message ${field.name};`;
  return `uint8_t ${field.name}[${field.bytes}];`;
}

function cppHeader(): string {
  const lines = [
    '// Generated from src/dvk/abi/schema.ts by generate.ts; edit the schema.',
    '#pragma once',
    '',
    '#include <cstddef>',
    '#include <cstdint>',
    '',
    'namespace dvk {',
    '',
    `inline constexpr uint32_t kAbiVersion = ${ABI_VERSION};`,
    '',
    ...Object.entries(LIMITS).map(
      ([name, [value, doc]]) =>
        `inline constexpr uint64_t ${constant(name)} = ${value};  // ${doc}`,
    ),
    '',
    ...Object.entries(ENDPOINTS).map(
      ([name, [value, doc]]) =>
        `inline constexpr int32_t ${constant(`ENDPOINT_${name}`)} = ${value};  // ${doc}`,
    ),
    '',
    'enum Error : int {',
    ...Object.entries(ERRORS).map(([name, [value, doc]]) => `  ${name} = ${value},  // ${doc}`),
    '};',
    '',
    'enum CommandKind : uint32_t {',
    ...Object.entries(COMMANDS).map(
      ([name, [value, doc]]) => `  ${constant(`COMMAND_${name}`)} = ${value},  // ${doc}`,
    ),
    '};',
    '',
  ];
  for (const [name, values] of Object.entries(CONSTANTS)) {
    lines.push(`enum class ${name} : uint32_t {`);
    for (const [key, value] of Object.entries(values)) lines.push(`  ${constant(key)} = ${value},`);
    lines.push('};', '');
  }
  lines.push(
    '// Source, type and payload of a message. The core writes the source.',
    'struct alignas(8) Message {',
    '  int32_t source;',
    '  int32_t type;',
    '  uint8_t payload[56];',
    '};',
    'static_assert(sizeof(Message) == kMessageBytes);',
    '',
  );
  for (const { name, bytes, doc, fields } of LAYOUTS) {
    lines.push(`// ${doc}`, `struct ${name} {`);
    for (const field of fields)
      lines.push(`  ${cppField(field)}${field.doc ? `  // ${field.doc}` : ''}`);
    lines.push('};', `static_assert(sizeof(${name}) == ${bytes});`);
    for (const field of fields) {
      lines.push(`static_assert(offsetof(${name}, ${field.name}) == ${field.at});`);
    }
    lines.push('');
  }
  lines.push('}  // namespace dvk', '');
  return lines.join('\n');
}

/** Limits that matter to a program in C; the others are the core's own affair. */
const C_LIMITS = [
  ...(['MESSAGE_BYTES', 'NAME_BYTES', 'PROCESSES_MAX', 'SYSTEM_PROCESSES', 'NODES_MAX'] as const),
  ...(['GRANTS', 'ASYNCS', 'DEPARTURES', 'COPY_BYTES_MAX'] as const),
  ...(['NOTIFY_TYPE', 'GENERATION_MAX'] as const),
];

function cEnum(doc: string, rows: (readonly [string, number, string])[]): string[] {
  return [
    `/* ${doc} */`,
    'enum {',
    ...rows.map(([name, value, text]) => `  DVK_${name} = ${value},${text && ` /* ${text} */`}`),
    '};',
    '',
  ];
}

/** Plain C; included by dvk.h. The table of errors is a macro, so that it takes no space unused. */
function cConstants(): string {
  const errors = Object.entries(ERRORS);
  const valuesOf = (prefix: string, values: Record<string, number>): [string, number, string][] =>
    Object.entries(values).map(([name, value]) => [`${prefix}${name}`, value, '']);
  const lines = [
    '/* Generated from src/dvk/abi/schema.ts by generate.ts; edit the schema. */',
    '#ifndef DVK_ERRORS_GEN_H',
    '#define DVK_ERRORS_GEN_H',
    '',
    ...cEnum('Version of dvk.h and of the layout of segments, and limits.', [
      ['ABI_VERSION', ABI_VERSION, 'a segment of another version is refused'],
      ...C_LIMITS.map((name) => [name, ...LIMITS[name]] as const),
    ]),
    ...cEnum(
      'Endpoints that are no process.',
      Object.entries(ENDPOINTS).map(([name, [value, doc]]) => [name, value, doc] as const),
    ),
    ...cEnum('Levels of a process.', valuesOf('LEVEL_', CONSTANTS.ProcessLevel)),
    ...cEnum('Flags of dvk_senda.', valuesOf('ASYNC_', CONSTANTS.AsyncFlag)),
    ...cEnum('What a slot is used for.', valuesOf('LIFE_', CONSTANTS.ProcessLife)),
    ...cEnum('How a slot is bound; see dvk_process_info.', valuesOf('BOUND_', CONSTANTS.BindFlag)),
    ...cEnum('State of the link to a node.', valuesOf('LINK_', CONSTANTS.LinkState)),
    ...cEnum('Rights of a grant.', valuesOf('RIGHT_', CONSTANTS.GrantRight)),
    ...cEnum('Rights of a process; see dvk_privileges.', valuesOf('CALL_', CONSTANTS.CallRight)),
    ...cEnum(
      'Errors beyond those of errno.h. Calls return them negative.',
      errors.map(([name, [value, doc]]) => [name, value, doc] as const),
    ),
    '/* X(name, number, sentence) for each of these errors. */',
    '#define DVK_ERRORS(X) \\',
    errors
      .map(([name, [value, doc]]) => `  X(${name}, ${value}, ${JSON.stringify(doc)})`)
      .join(' \\\n'),
    '',
    '#endif',
    '',
  ];
  return lines.join('\n');
}

function tsConstants(): string {
  const table = (name: string, rows: [string, number, string][], doc: string): string[] => [
    `/** ${doc} */`,
    `export const ${name} = {`,
    ...rows.flatMap(([key, value, text]) => [
      ...(text ? [`  /** ${text} */`] : []),
      `  ${key}: ${value},`,
    ]),
    '} as const;',
    '',
  ];
  const rowsOf = (entries: Record<string, readonly [number, string]>): [string, number, string][] =>
    Object.entries(entries).map(([key, [value, doc]]) => [key, value, doc]);
  const lines = [
    '// Generated from schema.ts by generate.ts; edit the schema.',
    '',
    `export const ABI_VERSION = ${ABI_VERSION};`,
    '',
    ...table('Limit', rowsOf(LIMITS), 'Sizes and counts.'),
    ...table('SpecialEndpoint', rowsOf(ENDPOINTS), 'Endpoints that are no process.'),
    ...table('ErrorNumber', rowsOf(ERRORS), 'Errors beyond POSIX.'),
    ...table('CommandKind', rowsOf(COMMANDS), 'Commands between nodes.'),
  ];
  for (const [name, values] of Object.entries(CONSTANTS)) {
    lines.push(
      ...table(
        name,
        Object.entries(values).map(([k, v]) => [k, v, '']),
        `Values of ${name}.`,
      ),
    );
    lines.push(`export type ${name} = (typeof ${name})[keyof typeof ${name}];`, '');
  }
  for (const { name, bytes, doc, fields } of LAYOUTS) {
    lines.push(
      `/** ${doc} Size in bytes, and the offset of each field. */`,
      `export const ${name}Layout = {`,
    );
    lines.push(`  BYTES: ${bytes},`);
    for (const field of fields) lines.push(`  ${camel(field.name)}: ${field.at},`);
    lines.push('} as const;', '');
  }
  return lines.join('\n');
}

function wireDocument(): string {
  const rows = (entries: Record<string, readonly [number, string]>): string[] =>
    Object.entries(entries).map(([name, [value, doc]]) => `| ${name} | ${value} | ${doc} |`);
  const lines = [
    '# ABI and wire tables',
    '',
    `Generated from \`src/dvk/abi/schema.ts\`. ABI version ${ABI_VERSION}.`,
    'All numbers are little-endian.',
    '',
    '## Limits',
    '',
    '| name | value | meaning |',
    '|---|---|---|',
    ...rows(LIMITS),
    '',
    '## Special endpoints',
    '',
    '| name | value | meaning |',
    '|---|---|---|',
    ...rows(ENDPOINTS),
    '',
    '## Errors beyond POSIX',
    '',
    '| name | number | meaning |',
    '|---|---|---|',
    ...rows(ERRORS),
    '',
    '## Commands between nodes',
    '',
    '| name | number | meaning |',
    '|---|---|---|',
    ...rows(COMMANDS),
    '',
  ];
  for (const { name, bytes, doc, fields } of LAYOUTS) {
    lines.push(
      `## ${name}, ${bytes} bytes`,
      '',
      doc,
      '',
      '| at | bytes | field | meaning |',
      '|---|---|---|---|',
    );
    for (const f of fields) lines.push(`| ${f.at} | ${f.bytes} | ${f.name} | ${f.doc} |`);
    lines.push('');
  }
  return lines.join('\n');
}

// This file runs from dist/src/dvk/abi; the sources are four folders up.
const root = fileURLToPath(new URL('../../../../', import.meta.url));
const outputs: [string, string][] = [
  ['native/core/abi.gen.h', cppHeader()],
  ['native/include/dvk_errors.gen.h', cConstants()],
  ['src/dvk/abi/abi.gen.ts', tsConstants()],
  ['docs/wire.md', wireDocument()],
];
const check = process.argv.includes('--check');
for (const [path, text] of outputs) {
  const file = join(root, path);
  if (!check) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    process.stderr.write(`${path} differs from the schema: run npm run build and commit it\n`);
    process.exitCode = 1;
  }
}
