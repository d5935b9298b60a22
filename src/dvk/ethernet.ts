/**
 * Names and numbers of Ethernet. An address is a number of 48 bits here, its first byte the
 * highest, and `02:00:00:00:00:01` for people.
 */

/** For experiments within one network: Local Experimental EtherType 1 of IEEE Std 802. */
export const DEFAULT_ETHER_TYPE = 0x88b5;
/** Smaller numbers in the place of an EtherType are lengths: IEEE Std 802.3, clause 3.2.6. */
export const ETHER_TYPE_RANGE = [0x0600, 0xffff] as const;
/** Shorter payloads are filled up to this on their way: IEEE Std 802.3, clause 3.2.7. */
export const PAYLOAD_BYTES_MIN = 46;

/** Whether an address is one of many stations, as that of a broadcast is. */
export function isGroup(address: number): boolean {
  return Math.floor(address / 2 ** 40) % 2 === 1;
}

export function formatMac(address: number): string {
  const digits = address.toString(16).padStart(12, '0');
  return digits.replace(/..(?!$)/g, '$&:');
}

/** The address of one station, as `formatMac` writes it; undefined when it is none. */
export function parseMac(text: string): number | undefined {
  if (!/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  const address = parseInt(text.replaceAll(':', ''), 16);
  return isGroup(address) ? undefined : address;
}

/** Whether Linux takes `name` for an interface: dev_valid_name in its net/core/dev.c. */
export function isInterfaceName(name: string): boolean {
  return /^[^\s/:\0]{1,15}$/.test(name) && name !== '.' && name !== '..';
}
