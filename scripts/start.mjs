// `npm start`: installs what is missing, builds, and runs `dvk up` with the arguments given.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from './build.mjs';
import { ensureDependencies } from './setup.mjs';
import { fail, root } from './steps.mjs';

try {
  await ensureDependencies();
  await build();
} catch (error) {
  fail(error);
}

// The command takes over this process: signals, terminal and exit code are its own from here on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeAllListeners(signal);
const main = join(root, 'dist/src/cli/main.js');
process.argv = [process.execPath, main, 'up', ...process.argv.slice(2)];
await import(pathToFileURL(main).href);
