/**
 * What must be undone however a bench ends: actions run once, last first, also after SIGINT,
 * SIGTERM and SIGHUP.
 *
 * An action that fails does not keep the others from running; what failed is thrown at the end.
 */
type Action = () => Promise<void> | void;

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
const SIGNAL_EXIT = 128;

export class Cleanup {
  readonly #actions: Action[] = [];
  #running: Promise<void> | undefined;

  /** Undoes something at the end. */
  defer(action: Action): void {
    this.#actions.push(action);
  }

  /** Undoes everything. Who calls while another call is at it waits for that one. */
  async run(): Promise<void> {
    return (this.#running ??= this.#undo());
  }

  async #undo(): Promise<void> {
    const failures: unknown[] = [];
    for (let action = this.#actions.pop(); action !== undefined; action = this.#actions.pop()) {
      try {
        await action();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, 'several clean-ups failed');
  }
}

/**
 * Runs `work`, then what it deferred; a signal ends the program after that, with its usual code.
 */
export async function withCleanup<T>(work: (cleanup: Cleanup) => Promise<T>): Promise<T> {
  const cleanup = new Cleanup();
  const handlers = Object.entries(SIGNALS).map(([signal, number]) => {
    const handler = (): void => {
      const exit = (): never => process.exit(SIGNAL_EXIT + number);
      cleanup.run().then(exit, exit);
    };
    process.on(signal, handler);
    return { signal, handler };
  });
  try {
    return await work(cleanup);
  } finally {
    await cleanup.run();
    for (const { signal, handler } of handlers) process.off(signal, handler);
  }
}
