/**
 * Message type ranges: each protocol owns 256 numbers, so that a stray message names its protocol.
 *
 * A request carries its call number in the message's `type`; its reply carries the result there: a
 * value of zero or more, or a negative errno. Ranges are append-only, since the numbers travel
 * between nodes of different versions.
 *
 *   0x0000 - 0x00FF  kernel: notifications
 *   0x0A00 - 0x0AFF  FS
 */
export const PROTOCOL_BASE = { kernel: 0x0000, fs: 0x0a00 } as const;
