/**
 * A busy process on every core while a case runs, of the same priority as the case's own: what a
 * machine does when others work on it too.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

import type { Case } from './harness.ts';
import { nativeProgram } from './native-case.ts';
import { allowedCpus } from './placement.ts';

async function startHog(cpu: number): Promise<ChildProcess> {
  const child = spawn(nativeProgram(), ['hog', String(cpu)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // It says so when it is busy.
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => {
      throw new Error('a busy process ended');
    }),
  ]);
  return child;
}

async function stopHog(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** The case, with hogs during each of its runs. */
export function amongHogs(subject: Case): Case {
  return {
    ...subject,
    start: async () => {
      const session = await subject.start();
      return {
        run: async (ms) => {
          const hogs = await Promise.all(allowedCpus().map(startHog));
          try {
            return await session.run(ms);
          } finally {
            await Promise.all(hogs.map(stopHog));
          }
        },
        close: async () => session.close(),
      };
    },
  };
}
