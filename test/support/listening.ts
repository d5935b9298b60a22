/** Where processes listen, as the kernel tells (proc(5), /proc/PID/net). */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

// Of a socket in these tables: TCP that listens, and UDP that takes datagrams of anybody.
const TABLES = [
  ['tcp', '0A'],
  ['tcp6', '0A'],
  ['udp', '07'],
  ['udp6', '07'],
] as const;

function socketsOf(pid: number): Set<string> {
  const folder = `/proc/${pid}/fd`;
  const targets = readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`);
    } catch {
      return '';
    }
  });
  return new Set(targets.flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []));
}

// The kernel writes each word of an address in the host's order.
function addressOf(hex: string): string {
  if (hex.length !== 8) return hex;
  return [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join('.');
}

/** `tcp 127.0.0.1` for each socket at which a process listens; IPv6 in the kernel's digits. */
export function listensAt(pid: number): string[] {
  const own = socketsOf(pid);
  return TABLES.flatMap(([table, listening]) => {
    const [, ...rows] = readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n');
    return rows.flatMap((row) => {
      const [, local = '', , state, , , , , , inode = ''] = row.trim().split(/\s+/);
      if (state !== listening || !own.has(inode)) return [];
      return `${table} ${addressOf(local.split(':')[0] ?? '')}`;
    });
  });
}
