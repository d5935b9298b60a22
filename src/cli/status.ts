/** `dvk status`: what is up, what is down, and what to do. */
import type { Command } from 'commander';

import { inspect, type DvsStatus } from './inspect.ts';
import { withSelection, type Selection } from './options.ts';
import { age, CliError, ExitCode, output, type Cell } from './output.ts';
import { chooseDvs, DvsPaths, findRuntime, listDvs, readState } from './runtime.ts';

export function register(program: Command): void {
  withSelection(program.command('status'))
    .description('what is up and what is down; exit code 1 when something is down')
    .action(status);
}

async function status(selection: Selection): Promise<void> {
  const { directory } = findRuntime(selection.runtime);
  const names = selection.name === undefined ? listDvs(directory) : [selection.name];
  const found: DvsStatus[] = [];
  for (const name of names) {
    const paths =
      selection.name === undefined ? new DvsPaths(directory, name) : chooseDvs(directory, name);
    if (readState(paths) === undefined) output.note(`${paths.root} holds leftovers; dvk down`);
    else found.push(await inspect(paths));
  }
  if (found.some(({ ok }) => !ok) || found.length === 0) process.exitCode = ExitCode.FAILURE;
  if (selection.json === true) {
    output.json({ ok: found.length > 0 && found.every(({ ok }) => ok), items: found });
    return;
  }
  if (found.length === 0) {
    throw new CliError(`no DVS is up under ${directory}`, 'Start one with `dvk up`.');
  }
  for (const dvs of found) show(dvs);
}

/** A state, coloured by what it means. */
export function stateCell(state: string): Cell {
  if (state === 'up') return [state, 'green'];
  return [state, state === 'starting' || state === 'stopped' ? 'yellow' : 'red'];
}

/** How long ago, or nothing. */
export function sinceCell(since: number | null): string {
  return since === null || since === 0 ? '' : age(since);
}

function show(dvs: DvsStatus): void {
  output.line(`DVS ${dvs.dvs}, up for ${age(dvs.since)}, in ${dvs.directory}`);
  output.line();
  output.table(
    ['WHAT', 'STATE', 'SINCE', 'DETAIL'],
    [
      ...dvs.nodes.map((node): Cell[] => {
        const detail = node.pid === null ? '' : `pid ${String(node.pid)}`;
        return [`node ${node.name}`, stateCell(node.state), sinceCell(node.since), detail];
      }),
      ...dvs.proxies.map((proxy): Cell[] => {
        const detail = proxy.reason ?? `listens on ${proxy.address ?? proxy.listen}`;
        const what = `proxy of node ${String(proxy.node)}`;
        return [what, stateCell(proxy.state), sinceCell(proxy.since), detail];
      }),
      ...dvs.links.map((link): Cell[] => {
        const what = `link ${link.nodes.join(' - ')}`;
        return [what, stateCell(link.state), sinceCell(link.since), link.reason ?? ''];
      }),
      ...dvs.services.map((service): Cell[] => {
        const { spec, state, since, reason, node } = service;
        const detail = reason ?? `${spec.kind} on node ${String(node)}`;
        return [`service ${spec.name}`, stateCell(state), sinceCell(since), detail];
      }),
      ...dvs.mounts.map((mount): Cell[] => {
        const detail = mount.reason ?? `by ${mount.service} on node ${String(mount.node)}`;
        return [`mount ${mount.path}`, stateCell(mount.state), '', detail];
      }),
    ],
  );
  output.line();
  if (dvs.ok) output.line('Everything is up.');
  for (const { what, remedy } of dvs.warnings) output.line(`${what}\n  -> ${remedy}`);
  for (const { what, remedy } of dvs.problems) output.line(`${what}\n  -> ${remedy}`);
}
