/**
 * FIFOs, sockets and device nodes that the kernel knows: each is held open at the server.
 *
 * The kernel opens them without a word, and goes on using them when their last name is gone. So
 * they are held from when the kernel is told of one until it has forgotten it: then one that
 * another node removes stays, without a name, as long as somebody may have it, as on one machine.
 */
import { constants } from 'node:os';
import type { FileId, FileService } from '../client/file-service.ts';
import type { FileAttributes } from '../protocol/fs.ts';
import type { Answers } from './answers.ts';
import { errnoOf } from './io-errors.ts';
import { isSpecial } from './nodes.ts';
import type { ServiceRequest } from './requests.ts';

const { ENFILE } = constants.errno;
/** Those beyond are not held; what a client may hold is bounded, and open files need that. */
export const SPECIAL_FILES_MAX = 4096;

type Holder = Pick<FileService, 'open' | 'release'>;

export class SpecialFiles {
  readonly #service: Holder;
  readonly #answers: Answers;
  readonly #max: number;
  #held = 0;

  constructor(service: Holder, answers: Answers, max: number = SPECIAL_FILES_MAX) {
    this.#service = service;
    this.#answers = answers;
    this.#max = max;
  }

  /** Whether one more may be held. */
  get hasRoom(): boolean {
    return this.#held < this.#max;
  }

  /**
   * Answers with an entry, as `Answers.entry`. Rejects with ESTALE when the file has gone since.
   * With `isHeld` it was held for this, which its caller has seen to.
   */
  async entry(
    request: ServiceRequest,
    found: FileAttributes,
    { ageMs = 0, isHeld = false }: { readonly ageMs?: number; readonly isHeld?: boolean } = {},
  ): Promise<void> {
    const { nodes } = this.#answers;
    const isToHold = isSpecial(found.mode) && !nodes.isHeld(found) && this.hasRoom;
    if (!isHeld && !isToHold) {
      this.#answers.entry(request, found, { ageMs });
      return;
    }
    const attributes = isHeld ? found : await this.#hold(found);
    const taken = this.#answers.entry(request, attributes ?? found);
    if (attributes === undefined) return;
    // Another request may have come first, or the kernel may not have taken the answer.
    if (!taken || nodes.isHeld(attributes)) await this.#service.release(attributes);
    else this.#keep(attributes);
  }

  /** Undefined when too many are open. */
  async #hold(file: FileId): Promise<FileAttributes | undefined> {
    try {
      return await this.#service.open(file);
    } catch (error) {
      if (errnoOf(error) === ENFILE) return undefined;
      throw error;
    }
  }

  #keep({ inode, generation }: FileAttributes): void {
    this.#held++;
    this.#answers.nodes.whenForgotten({ inode, generation }, () => {
      this.#held--;
      // When that fails the server lets go at the end of this client.
      this.#service.release({ inode, generation }).catch(() => undefined);
    });
  }
}
