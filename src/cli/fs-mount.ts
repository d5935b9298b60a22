/**
 * `dvk fs mount` and `dvk fs umount`: mounts that are not in the spec. Each is a service as those
 * of the spec are, added to a DVS that runs, until it is taken away or `dvk down`.
 */
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';

import type { Command } from 'commander';

import type { ContainerSpec, DvsSpec, FsServiceSpec, FuseServiceSpec } from '../vos/spec.ts';
import { FUSE_TYPE, mountOn, runProgram } from './mounts.ts';
import { change, findNode, findOne, nameOption, withDvs } from './options.ts';
import type { Held, Selection } from './options.ts';
import { CliError, output } from './output.ts';
import { readState, writeState } from './runtime.ts';
import { servicesOf } from './start-order.ts';
import { checkMount, checkMountPoint } from './up.ts';

const FUSE_CONFIGURATION = '/etc/fuse.conf';
const ID_TIMEOUT_MS = 5000;

interface MountFlags extends Selection {
  readonly ro?: boolean;
  readonly user?: string;
  readonly allowOther?: boolean;
  readonly strict?: boolean;
  readonly node?: string;
  readonly as?: string;
}

export function registerMount(fs: Command): void {
  withDvs(fs.command('mount').argument('<service>', 'the file system server'))
    .description('mount the tree of a server of a DVS that runs')
    .argument('<dir>', 'an empty directory')
    .option('--ro', 'nothing can be changed through it')
    .option('--user <name>', 'for this user alone, by root (default: who runs the DVS)')
    .option('--allow-other', 'other users may use it')
    .option('--strict', 'changes made elsewhere are seen at once')
    .option('--node <node>', 'where its gateway runs (default: the node of the server)')
    .option('--as <name>', 'name of the service (default: mount- and a number)', nameOption)
    .action(mount);
  withDvs(fs.command('umount').argument('<dir>', 'where it is mounted'))
    .description('take away what `dvk fs mount` has mounted')
    .action(unmount);
}

async function mount(server: string, directory: string, flags: MountFlags): Promise<void> {
  const path = resolve(directory);
  await checkDirectory(path);
  await change(flags, async (held) => {
    const service = await serviceFor(held, server, { path, flags });
    const container = containerOf(held.state.spec, server);
    const { cluster } = held;
    writeServices(held, container.name, (services) => [...services, service]);
    try {
      await output.step(`${path} on node ${String(service.node)}`, async () => {
        await cluster.call(service.node, 'addService', { container: container.name, service });
        await cluster.startService(service);
        if (service.owner === undefined) await checkMount(path);
        return service.name;
      });
    } catch (error) {
      await stop(held, service).catch(() => undefined);
      forget(held, service);
      throw error;
    }
  });
}

async function unmount(directory: string, flags: Selection): Promise<void> {
  const path = resolve(directory);
  await change(flags, async (held) => {
    const mounts = servicesOf(held.state.spec).flatMap((one) => (one.kind === 'fuse' ? one : []));
    const service = findOne(mounts, (one) => one.mount === path, {
      what: `mount of DVS ${held.paths.dvs} on ${path}`,
      names: mounts.map((one) => one.mount),
    });
    if (service.added !== true) {
      const remedy = `Stop it: dvk service stop ${service.name}`;
      throw new CliError(`${path} is a mount of the spec`, remedy);
    }
    await output.step(`${path} unmounted`, async () => {
      await stop(held, service);
      forget(held, service);
      return undefined;
    });
  });
}

/** Its gateway ends, if its node still runs. */
async function stop({ cluster }: Held, service: FuseServiceSpec): Promise<void> {
  if (!cluster.has(service.node)) return;
  await cluster.stopService(service);
  await cluster.call(service.node, 'removeService', { name: service.name });
}

/** It is no service any more. */
function forget(held: Held, service: FuseServiceSpec): void {
  const container = containerOf(held.state.spec, service.server);
  writeServices(held, container.name, (services) =>
    services.filter(({ name }) => name !== service.name),
  );
}

function writeServices(
  { paths, state }: Held,
  name: string,
  changed: (services: ContainerSpec['services']) => ContainerSpec['services'],
): void {
  const now = readState(paths) ?? state;
  const containers = now.spec.containers.map((container) =>
    container.name === name ? { ...container, services: changed(container.services) } : container,
  );
  writeState(paths, { ...now, spec: { ...now.spec, containers } });
}

async function serviceFor(
  { state }: Held,
  wanted: string,
  { path, flags }: { path: string; flags: MountFlags },
): Promise<FuseServiceSpec> {
  const { spec } = state;
  const container = containerOf(spec, wanted);
  const server = serverOf(spec, wanted);
  const node = flags.node === undefined ? server.node : findNode(state, flags.node);
  if (!container.nodes.includes(node)) {
    const what = `node ${String(node)} is no member of container ${container.name}`;
    throw new CliError(what, `Its nodes are ${container.nodes.join(', ')}.`);
  }
  const allowOther = flags.allowOther === true;
  if (allowOther) checkAllowOther(flags);
  const owner = flags.user === undefined ? undefined : await ownerNamed(flags.user);
  return {
    name: freeName(spec, flags.as),
    node,
    kind: 'fuse',
    slot: null,
    server: server.name,
    serverSlot: server.slot,
    mount: path,
    readOnly: flags.ro === true || server.readOnly,
    constant: server.readOnly,
    allowOther,
    coherence: flags.strict === true ? 'strict' : 'close-to-open',
    added: true,
    ...(owner && { owner }),
  };
}

function serverOf(spec: DvsSpec, wanted: string): FsServiceSpec {
  const servers = servicesOf(spec).flatMap((one) => (one.kind === 'fs' ? one : []));
  return findOne(servers, ({ name }) => name === wanted, {
    what: `file system server ${wanted}`,
    names: servers.map(({ name }) => name),
  });
}

function containerOf(spec: DvsSpec, server: string): ContainerSpec {
  const { name } = serverOf(spec, server);
  const names = spec.containers.map((one) => one.name);
  const has = ({ services }: ContainerSpec): boolean => services.some((one) => one.name === name);
  return findOne(spec.containers, has, { what: `container of ${name}`, names });
}

function freeName(spec: DvsSpec, wanted: string | undefined): string {
  const taken = new Set(servicesOf(spec).map(({ name }) => name));
  if (wanted !== undefined && taken.has(wanted)) {
    throw new CliError(`there is a service ${wanted} already`, 'Choose another name with --as.');
  }
  for (let number = 1; ; number++) {
    const name = wanted ?? `mount-${String(number)}`;
    if (!taken.has(name)) return name;
  }
}

async function checkDirectory(path: string): Promise<void> {
  if (path === '/') throw new CliError('a mount on / would hide this machine');
  if (mountOn(path)?.type === FUSE_TYPE) {
    await checkMountPoint(path);
    return;
  }
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) throw new CliError(`${path} is not there`, `mkdir -p ${path}`);
  if (!status.isDirectory()) throw new CliError(`${path} is no directory`);
  await checkMountPoint(path);
}

/** An ordinary user may let others in where the administrator of this machine allows it. */
function checkAllowOther({ user }: MountFlags): void {
  if (user !== undefined) {
    throw new CliError('--user is for one user, and --allow-other for all', 'Give one of them.');
  }
  if (process.getuid?.() === 0) return;
  let text = '';
  try {
    text = readFileSync(FUSE_CONFIGURATION, 'utf8');
  } catch {
    // Without it nothing is allowed.
  }
  if (/^\s*user_allow_other\s*$/m.test(text)) return;
  const remedy = `As root, write the line user_allow_other into ${FUSE_CONFIGURATION}.`;
  throw new CliError('only root may let other users into a mount here', remedy);
}

async function ownerNamed(name: string): Promise<{ uid: number; gid: number }> {
  if (process.getuid?.() !== 0) {
    const remedy = 'Leave --user out: the mount is for who runs the DVS.';
    throw new CliError('only root may mount for another user', remedy);
  }
  const [uid, gid] = [await idOf('-u', name), await idOf('-g', name)];
  return { uid, gid };
}

async function idOf(which: '-u' | '-g', name: string): Promise<number> {
  const { status, output: text } = await runProgram('id', [which, '--', name], ID_TIMEOUT_MS);
  if (status === 0 && /^\d+$/.test(text)) return Number(text);
  throw new CliError(`there is no user ${name}`);
}
