/** How the links of a DVS are protected: which certificates `dvk up` uses, and if they serve. */
import { join, resolve } from 'node:path';

import type { DvsSpec } from '../vos/spec.ts';
import { ClusterDirectory, defaultDirectory } from './cluster-directory.ts';
import type { CertificateReport } from './cluster-directory.ts';
import { CliError, output } from './output.ts';
import type { DvsPaths, Security } from './runtime.ts';

export interface SecurityOptions {
  readonly cluster?: string;
  readonly insecure?: boolean;
}

// The certificates of a DVS that made its own end with it.
const OWN_DAYS = 3650;

export const INSECURE_WARNING =
  'INSECURE: links between nodes are in plain text, and whoever reaches a port can be any node';

/**
 * The certificates for a DVS that is brought up: those of `--cluster`, else those that `dvk init`
 * made, else new ones in the DVS's own directory. Throws a CliError when they do not serve.
 */
export function chooseSecurity(paths: DvsPaths, spec: DvsSpec, options: SecurityOptions): Security {
  if (options.insecure === true) {
    output.note(`  ${INSECURE_WARNING}`, 'red');
    return { mode: 'insecure' };
  }
  const usual = new ClusterDirectory(defaultDirectory(spec.dvs, process.env));
  const chosen =
    options.cluster === undefined ? usual : new ClusterDirectory(resolve(options.cluster));
  if (options.cluster === undefined && !usual.exists) {
    const own = new ClusterDirectory(join(paths.root, 'cluster'));
    own.create(spec.dvs);
    for (const node of spec.nodes) own.issue(node, OWN_DAYS);
    return { mode: 'sealed', directory: own.root };
  }
  check(chosen, spec);
  output.note(`  certificates in ${chosen.root}`);
  return { mode: 'sealed', directory: chosen.root };
}

function check(directory: ClusterDirectory, spec: DvsSpec): void {
  const { dvs, nodes } = spec;
  const authority = directory.dvs();
  if (authority !== dvs) {
    throw new CliError(
      `the certificates in ${directory.root} are for DVS ${authority}, not for ${dvs}`,
      'Name another directory with --cluster, or make one with `dvk init`.',
    );
  }
  const present = directory.nodes();
  for (const { id, name } of nodes) {
    const node = String(id);
    const remedy = `Make it with: dvk cert issue ${node} --as ${name} --cluster ${directory.root}`;
    if (!present.includes(id)) {
      throw new CliError(`node ${node} has no certificate in ${directory.root}`, remedy);
    }
    const report = directory.report(id);
    const fault = faultOf(report) ?? (report.name === name ? undefined : `names it ${report.name}`);
    if (fault !== undefined) {
      throw new CliError(`the certificate of node ${node} ${fault}: ${report.file}`, remedy);
    }
  }
}

/** Why a certificate is refused by peers; undefined when it is not. */
export function faultOf({ state, since, until }: CertificateReport): string | undefined {
  switch (state) {
    case 'good':
    case 'ending':
      return undefined;
    case 'expired':
      return `expired at ${new Date(until).toISOString()}`;
    case 'early':
      return `is good only from ${new Date(since).toISOString()}`;
    case 'denied':
      return 'is on the deny list';
    case 'foreign':
      return 'is not of this CA, or not for this node';
  }
}
