/** What peers and the tests that start them have agreed on. */

/** A request of this type ends the echo roles. */
export const QUIT = -1;
/** Slot of the echo roles. */
export const SERVER_SLOT = 10;
