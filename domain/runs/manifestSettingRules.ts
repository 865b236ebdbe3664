import type { EffectiveSetting, ManifestContext } from './manifestContext.js';
import { type RatedFinding, warning } from './manifestFindings.js';
import { countUsedCycles, parseMask } from './manifestMasks.js';
import type { ReadName } from './runParameters.js';

/** What the value of a setting may be (Element's documentation of run manifests, "Settings"). */
interface ValueRule {
  pattern: RegExp;
  /** Completes the sentence "the setting must be …". */
  text: string;
}

const BOOLEAN: ValueRule = { pattern: /^(true|false|t|f|0|1)$/i, text: 'true or false' };
const THRESHOLD: ValueRule = { pattern: /^[012]$/, text: 'a number of mismatches from 0 to 2' };
const LENGTH: ValueRule = { pattern: /^\d+$/, text: 'a number of bases' };
const FRACTION: ValueRule = { pattern: /^(0?\.\d+|[01](\.\d*)?)$/, text: 'a number from 0 to 1' };
const ADAPTER: ValueRule = { pattern: /^[ACGTN+\s]*$/i, text: 'sequences of A, C, G, T and N, with + between them' };
/** A mask, which has its own rule, or a value that the documentation does not restrict. */
const ANY: ValueRule = { pattern: /^/, text: 'any text' };

const ADAPTER_SETTINGS = {
  Adapter: ADAPTER,
  AdapterTrim: BOOLEAN,
  AdapterNMask: BOOLEAN,
  AdapterMinimumTrimmedLength: LENGTH,
  AdapterMinimumStringency: FRACTION,
  AdapterMinimumOverlap: LENGTH,
};

/** Settings of Bases2Fastq, as its RunManifest.json names them (there with `Default` or a read before the name). */
const SETTINGS: ReadonlyMap<string, ValueRule> = new Map(
  Object.entries({
    I1Mask: ANY,
    I2Mask: ANY,
    UmiMask: ANY,
    R1FastQMask: ANY,
    R2FastQMask: ANY,
    I1FastQ: BOOLEAN,
    I2FastQ: BOOLEAN,
    UmiFastQ: BOOLEAN,
    I1MismatchThreshold: THRESHOLD,
    I2MismatchThreshold: THRESHOLD,
    SpikeInAsUnassigned: BOOLEAN,
    AdapterTrimType: ANY,
    ...ofRead('R1'),
    ...ofRead('R2'),
  }).map(([name, rule]) => [name.toLowerCase(), rule]),
);

function ofRead(read: 'R1' | 'R2'): Record<string, ValueRule> {
  return Object.fromEntries(Object.entries(ADAPTER_SETTINGS).map(([name, rule]) => [read + name, rule]));
}

/** Settings of Illumina's sample sheets, and those of Bases2Fastq that do the same. */
const ILLUMINA_SETTINGS: readonly (readonly [RegExp, string])[] = [
  [/^barcodemismatchesindex([12])$/, 'I$1MismatchThreshold'],
  [/^(?:adapterread([12]))$/, 'R$1Adapter'],
  [/^adapter$/, 'R1Adapter and R2Adapter'],
  [/^overridecycles$/, 'I1Mask, I2Mask, UmiMask, R1FastQMask and R2FastQMask'],
  [/^createfastqforindexreads$/, 'I1FastQ and I2FastQ'],
];

export function findUnknownSetting(_context: ManifestContext, setting: EffectiveSetting): RatedFinding[] {
  const name = setting.name.toLowerCase();
  if (SETTINGS.has(name)) return [];
  const illumina = ILLUMINA_SETTINGS.find(([pattern]) => pattern.test(name));
  const advice =
    illumina === undefined
      ? 'Check its name, because Bases2Fastq may ignore it.'
      : `It is one of Illumina. Bases2Fastq has ${name.replace(illumina[0], illumina[1])} instead.`;
  return [warning('unknown-setting', setting, `the setting ${describe(setting)} is unknown to polony. ${advice}`)];
}

export function findConflictingSetting(context: ManifestContext, setting: EffectiveSetting): RatedFinding[] {
  const conflict = context.findConflict(setting);
  if (conflict === undefined) return [];
  const { earlier, lane } = conflict;
  const message = `the setting ${setting.name} has another value for lane ${lane} in line ${earlier.line}`;
  return [warning('setting-twice', setting, message)];
}

export function findUnusualValue(_context: ManifestContext, setting: EffectiveSetting): RatedFinding[] {
  const rule = SETTINGS.get(setting.name.toLowerCase());
  if (rule === undefined || rule.pattern.test(setting.value)) return [];
  const message = `${describe(setting)} is ${JSON.stringify(setting.value)}, but must be ${rule.text}`;
  return [warning('setting-value', setting, message)];
}

/** The read that a mask means where it names none. Which one that is for UmiMask does not matter to the rules. */
const MASKS: Readonly<Record<string, ReadName>> = {
  i1mask: 'I1',
  i2mask: 'I2',
  umimask: 'I1',
  r1fastqmask: 'R1',
  r2fastqmask: 'R2',
};

/** The read that the mask of a setting means by default; undefined for a setting that is no mask. */
function defaultReadOf({ name }: EffectiveSetting): ReadName | undefined {
  return Object.hasOwn(MASKS, name.toLowerCase()) ? MASKS[name.toLowerCase()] : undefined;
}

export function findMalformedMask(_context: ManifestContext, setting: EffectiveSetting): RatedFinding[] {
  const read = defaultReadOf(setting);
  if (read === undefined || parseMask(setting.value, read) !== undefined) return [];
  const value = JSON.stringify(setting.value);
  return [
    warning('mask', setting, `${describe(setting)} is ${value}, but must be a mask such as Y8N* or ${read}:Y8N*`),
  ];
}

/** A mask that names more cycles than its read has. Bases2Fastq may stop, or write other bases than those that are meant. */
export function findTooLongMask(context: ManifestContext, setting: EffectiveSetting): RatedFinding[] {
  const read = defaultReadOf(setting);
  const cycles = context.cycles();
  const mask = read === undefined ? undefined : parseMask(setting.value, read);
  if (mask === undefined || cycles === undefined || !context.isEffective(setting)) return [];
  const masked = countUsedCycles(mask, cycles);
  if (masked === undefined || 'used' in masked) return [];
  const has = `${masked.tooLongFor} has (${cycles[masked.tooLongFor] ?? 0})`;
  return [warning('mask-length', setting, `${describe(setting)} ${setting.value} needs more cycles than ${has}`)];
}

function describe({ name, line }: EffectiveSetting): string {
  return line === undefined ? `${name} (in the parameters)` : name;
}
