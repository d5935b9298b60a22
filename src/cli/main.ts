#!/usr/bin/env node
/**
 * The `dvk` command. One file for each noun registers its verbs here.
 *
 * Exit codes: 0 success, 1 failure, 2 usage. The file runs when it is imported, since `npm start`
 * does that.
 */
import { readFileSync } from 'node:fs';

import { Command, CommanderError } from 'commander';

import { SpecError } from '../vos/spec-reader.ts';
import { CliError, ExitCode, output } from './output.ts';

import * as bench from './bench.ts';
import * as cert from './cert.ts';
import * as dc from './dc.ts';
import * as doctor from './doctor.ts';
import * as fs from './fs.ts';
import * as lifecycle from './lifecycle.ts';
import * as migrate from './migrate.ts';
import * as node from './node.ts';
import * as proc from './proc.ts';
import * as proxy from './proxy.ts';
import * as service from './service.ts';
import * as soak from './soak.ts';
import * as status from './status.ts';
import * as trace from './trace.ts';

function makeProgram(): Command {
  const program = new Command('dvk')
    .version(readVersion())
    .description('one virtual operating system across many machines')
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        output.line(text.trimEnd());
      },
      writeErr: (text) => {
        output.note(text.trimEnd());
      },
    });
  for (const noun of [
    lifecycle,
    status,
    doctor,
    node,
    dc,
    proc,
    migrate,
    proxy,
    service,
    cert,
    fs,
    trace,
    bench,
    soak,
  ]) {
    noun.register(program);
  }
  return program;
}

function readVersion(): string {
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CliError) return error.exitCode;
  if (error instanceof SpecError) return ExitCode.USAGE;
  return ExitCode.FAILURE;
}

async function main(args: readonly string[]): Promise<void> {
  try {
    await makeProgram().parseAsync(args);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has said what is wrong; help and version are no errors.
      process.exitCode = error.exitCode === 0 ? ExitCode.SUCCESS : ExitCode.USAGE;
      return;
    }
    output.error(error);
    process.exitCode = exitCodeOf(error);
  }
}

await main(process.argv);
