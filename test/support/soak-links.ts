/** Runs `dvk soak --links`, and tells what it reported. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { MAIN } from './dvk-command.ts';

export interface SoakReport {
  calls: number;
  answered: number;
  problems: string[];
}

export async function soakLinks(
  seconds: number,
  seed: number,
): Promise<{ code: number | null; report: SoakReport }> {
  const time = ['--minutes', String(seconds / 60), '--seed', String(seed)];
  const child = spawn(process.execPath, [MAIN, 'soak', '--links', '--json', ...time], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  const report = (text === '' ? { problems: ['no report'] } : JSON.parse(text)) as SoakReport;
  return { code, report };
}
