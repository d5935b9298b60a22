/** `dvk service`: the services of a DVS. */
import type { Command } from 'commander';

import type { ServiceSpec } from '../vos/spec.ts';
import type { ServiceStatus } from './inspect.ts';
import { change, findOne, inspectSelected, type Held } from './options.ts';
import { withDvs, withSelection, type Selection } from './options.ts';
import { output } from './output.ts';
import { RAM_NOTE } from './ram-volume.ts';
import { servicesOf } from './start-order.ts';
import { sinceCell, stateCell } from './status.ts';
import { checkMount } from './up.ts';

export function register(program: Command): void {
  const service = program
    .command('service')
    .description('services: ls, info, start, stop, restart');
  withSelection(service.command('ls')).description('list the services').action(list);
  withSelection(service.command('info').argument('<service>', 'name'))
    .description('one service')
    .action(info);
  withDvs(service.command('start').argument('<service>', 'name'))
    .description('start a service that is down')
    .action(async (name: string, selection: Selection) => act(name, selection, [start]));
  withDvs(service.command('stop').argument('<service>', 'name'))
    .description('stop a service')
    .action(async (name: string, selection: Selection) => act(name, selection, [stop]));
  withDvs(service.command('restart').argument('<service>', 'name'))
    .description('stop a service and start it again')
    .action(async (name: string, selection: Selection) => act(name, selection, [stop, start]));
}

function describe({ spec, ...rest }: ServiceStatus): Record<string, unknown> {
  return { name: spec.name, kind: spec.kind, ...rest, spec };
}

function detailOf(spec: ServiceSpec): string {
  if (spec.kind === 'fuse') return spec.mount;
  return spec.ramBytes === undefined ? spec.image : `${spec.image}, ${RAM_NOTE}`;
}

async function list(selection: Selection): Promise<void> {
  const { services } = await inspectSelected(selection);
  if (selection.json === true) {
    output.json({ items: services.map(describe) });
    return;
  }
  output.table(
    ['SERVICE', 'KIND', 'DC', 'NODE', 'STATE', 'SINCE', 'PID', 'DETAIL'],
    services.map(({ spec, container, node, state, since, pid, reason }) => [
      spec.name,
      spec.kind,
      container,
      node,
      stateCell(state),
      sinceCell(since),
      pid ?? '',
      reason ?? detailOf(spec),
    ]),
  );
}

async function info(wanted: string, selection: Selection): Promise<void> {
  const { services } = await inspectSelected(selection);
  const service = findOne(services, ({ spec }) => spec.name === wanted, {
    what: `service ${wanted}`,
    names: services.map(({ spec }) => spec.name),
  });
  if (selection.json === true) {
    output.json(describe(service));
    return;
  }
  const { spec, info: told, ...rest } = service;
  for (const [key, value] of Object.entries({ ...spec, ...rest, ...told })) {
    output.line(`${key.padEnd(12)} ${String(value)}`);
  }
}

type Action = (held: Held, service: ServiceSpec) => Promise<void>;

async function act(wanted: string, selection: Selection, actions: Action[]): Promise<void> {
  await change(selection, async (held) => {
    const services = servicesOf(held.state.spec);
    const service = findOne(services, ({ name }) => name === wanted, {
      what: `service ${wanted}`,
      names: services.map(({ name }) => name),
    });
    for (const action of actions) await action(held, service);
  });
}

async function start({ cluster }: Held, service: ServiceSpec): Promise<void> {
  await output.step(`service ${service.name} on node ${String(service.node)}`, async () => {
    await cluster.startService(service);
    if (service.kind !== 'fuse') return undefined;
    await checkMount(service.mount);
    return service.mount;
  });
}

async function stop({ cluster }: Held, service: ServiceSpec): Promise<void> {
  await output.step(`service ${service.name} stopped`, async () => {
    await cluster.stopService(service);
    return undefined;
  });
}
