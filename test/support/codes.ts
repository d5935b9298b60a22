/** How a call that may fail ended. */
import { isDvkError } from '../../src/dvk/index.ts';

/** The code of the DvkError that `action` throws or rejects with, or 'none'. */
export async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
  return 'none';
}
