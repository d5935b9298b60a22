/**
 * What can be chosen of a proxy while it runs: names, units and limits, and the check of a change.
 *
 * One object holds the values, and whoever needs one reads it there each time, so a change takes
 * effect at once. It lasts as long as the proxy.
 */
import type { AdmissionLimits } from './admission.ts';
import type { SessionTimes } from './session.ts';

export interface ProxySettings extends SessionTimes, AdmissionLimits {
  /** Commands that no honest node sends, of one peer: so many at once, so many a second. */
  badBurst: number;
  badPerSecond: number;
  /** How long a session without a connection is held before callers get ENOTCONN; 0: not at all. */
  holdMs: number;
  /** How long a path must be up before the session returns to it; see path.ts. */
  steadyMs: number;
  /** Whether frames are packed: never, where it pays, or always. */
  compress: (typeof COMPRESS)[number];
  /** What of it on sealed links: nothing, the data of single copies, or all. */
  compressSealed: (typeof COMPRESS_SEALED)[number];
}

/** What `compress` may be, also in a spec. */
export const COMPRESS = ['off', 'auto', 'on'] as const;
/** What `compressSealed` may be, also in a spec. */
export const COMPRESS_SEALED = ['off', 'copies', 'all'] as const;

export const DEFAULT_SETTINGS: Omit<ProxySettings, keyof SessionTimes> = {
  handshakeBurst: 64,
  handshakesPerSecond: 20,
  badBurst: 1000,
  badPerSecond: 100,
  holdMs: 5000,
  steadyMs: 5000,
  compress: 'auto',
  compressSealed: 'copies',
};

export type SettingName = keyof ProxySettings;

/** A setting that is a number, for people. */
export interface NumberRule {
  unit: 'ms' | 'handshakes' | 'handshakes/s' | 'commands' | 'commands/s';
  min: number;
  max: number;
  meaning: string;
}

/** One that is a word. */
export interface ChoiceRule {
  choices: readonly string[];
  meaning: string;
}

export type SettingRule = NumberRule | ChoiceRule;

const HOUR_MS = 3_600_000;
/** What `holdMs` may be, also in a spec. */
export const HOLD_RANGE = { min: 0, max: 600_000 } as const;

export const SETTING_RULES: Readonly<Record<SettingName, SettingRule>> = {
  keepaliveMs: {
    unit: 'ms',
    min: 10,
    max: 60_000,
    meaning: 'a side that was quiet for so long says something',
  },
  deadMs: {
    unit: 'ms',
    min: 30,
    max: HOUR_MS,
    meaning: 'a peer of which nothing came for so long is dead; at least 3 times keepaliveMs',
  },
  handshakeMs: {
    unit: 'ms',
    min: 100,
    max: 60_000,
    meaning: 'how long the exchange of HELLO may take',
  },
  handshakeBurst: {
    unit: 'handshakes',
    min: 1,
    max: 100_000,
    meaning: 'sealed handshakes that one host may begin at once',
  },
  handshakesPerSecond: {
    unit: 'handshakes/s',
    min: 1,
    max: 100_000,
    meaning: 'and after that',
  },
  badBurst: {
    unit: 'commands',
    min: 1,
    max: 1_000_000,
    meaning: 'commands that no honest node sends, before the link of their sender is closed',
  },
  badPerSecond: {
    unit: 'commands/s',
    min: 1,
    max: 1_000_000,
    meaning: 'and after that',
  },
  holdMs: {
    unit: 'ms',
    ...HOLD_RANGE,
    meaning: 'how long calls wait for a node that is not reached; 0 for not at all',
  },
  steadyMs: {
    unit: 'ms',
    min: 0,
    max: HOUR_MS,
    meaning: 'how long a path must be up before the link returns to it',
  },
  compress: {
    choices: COMPRESS,
    meaning: 'whether frames are packed by LZ4: never, while it makes a link faster, or always',
  },
  compressSealed: {
    choices: COMPRESS_SEALED,
    meaning: 'what may be packed on sealed links: nothing, data of single copies, or all',
  },
};

/** A setting that was changed. */
export interface SettingChange {
  name: SettingName;
  before: number | string;
  after: number | string;
}

function isSetting(name: string): name is SettingName {
  return Object.hasOwn(SETTING_RULES, name);
}

function checkValue(name: SettingName, value: unknown): number | string {
  const rule = SETTING_RULES[name];
  if ('choices' in rule) {
    const { choices } = rule;
    if (typeof value === 'string' && choices.includes(value)) return value;
    throw new RangeError(`${name} is one of ${choices.join(', ')}`);
  }
  const { min, max, unit } = rule;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) {
    return value;
  }
  throw new RangeError(`${name} is a whole number from ${min} to ${max} ${unit}`);
}

/**
 * Takes the changes over into `settings`: all of them, or none and a RangeError that says what is
 * wrong.
 */
export function changeSettings(
  settings: ProxySettings,
  wanted: Readonly<Record<string, unknown>>,
): SettingChange[] {
  const changes = Object.entries(wanted).map(([name, value]): SettingChange => {
    if (!isSetting(name)) {
      const known = Object.keys(SETTING_RULES).join(', ');
      throw new RangeError(`there is no setting ${name}; there are ${known}`);
    }
    return { name, before: settings[name], after: checkValue(name, value) };
  });
  const values = Object.fromEntries(changes.map(({ name, after: value }) => [name, value]));
  const after: ProxySettings = { ...settings, ...values };
  if (after.deadMs < 3 * after.keepaliveMs) {
    const [dead, keepalive] = [after.deadMs, after.keepaliveMs];
    throw new RangeError(`deadMs (${dead}) is less than 3 times keepaliveMs (${keepalive})`);
  }
  Object.assign(settings, after);
  return changes;
}
