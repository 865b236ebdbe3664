import type { ManifestSetting } from './manifest.js';
import { READ_NAMES, type Cycles, type ReadName } from './runParameters.js';

/**
 * What the parameters of a flow or an execution change about the manifest and the run.
 * Source: `bases2fastq --help`: `--settings` overrides the settings of the manifest, and `--i1-cycles` and its like the
 * cycles of RunParameters.json.
 */
export interface ManifestOverrides {
  settings: Pick<ManifestSetting, 'name' | 'value' | 'lanes'>[];
  cycles: Cycles;
  /** Whether there are arguments that polony cannot interpret and that may change settings or cycles. */
  areUnclear: boolean;
  /** Whether the parameters name another manifest. */
  replaceManifest: boolean;
}

/** Options of Bases2Fastq in a text of arguments that polony does not interpret. */
const OVERRIDING_OPTION = /--(settings|[ir][12]-cycles)\b|\b[ir][12]:[yn](\d|\*)/i;
const MANIFEST_OPTION = /--run-manifest\b|(^|\s)-r[\s=]/;
/** Parts of names of parameters that may change settings or cycles in a way that polony does not know. */
const UNCLEAR_NAME = /settings|mask|cycles/;
/** Options with a mask that concerns no index read. */
const OTHER_MASKS = /^(filtermask|cytofastqmask)$/;

/**
 * Finds what the parameters of a workflow override. Workflows spell their names differently, such as `b2f_settings`.
 * @param manifestParameter the name of the parameter for the manifest, where the flow gives it.
 */
export function findManifestOverrides(
  parameters: Readonly<Record<string, unknown>>,
  manifestParameter?: string,
): ManifestOverrides {
  const overrides: ManifestOverrides = { settings: [], cycles: {}, areUnclear: false, replaceManifest: false };
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined || (typeof value === 'string' && value.trim() === '')) continue;
    const option = name
      .toLowerCase()
      .replace(/[^a-z0-9]/g, '')
      .replace(/^(b2f|bases2fastq)/, '');
    if (OTHER_MASKS.test(option)) continue;
    if (option === 'settings') addSettings(overrides, value);
    else if (option === 'runmanifest' || option === 'manifest' || name === manifestParameter)
      overrides.replaceManifest = true;
    else if (/^[ir][12]cycles$/.test(option)) addCycles(overrides, option.slice(0, 2).toUpperCase() as ReadName, value);
    else if (!UNCLEAR_NAME.test(option) && typeof value === 'string' && value.includes('--'))
      addArguments(overrides, value);
    else {
      const texts = [...textsIn(value)];
      if (UNCLEAR_NAME.test(option) || texts.some((text) => OVERRIDING_OPTION.test(text))) overrides.areUnclear = true;
      if (texts.some((text) => MANIFEST_OPTION.test(text))) overrides.replaceManifest = true;
    }
  }
  return overrides;
}

/** Adds what a text of arguments overrides, such as `--settings 'I1Mask,Y8N*' --i2-cycles 8`. */
function addArguments(overrides: ManifestOverrides, text: string): void {
  const words = splitArguments(text);
  for (let at = 0; at < words.length; at++) {
    const [, option = words[at]!, given] = /^(--?[a-z0-9-]+)=(.*)$/is.exec(words[at]!) ?? [];
    if (!TAKES_VALUE.test(option)) {
      if (OVERRIDING_OPTION.test(words[at]!)) overrides.areUnclear = true;
      continue;
    }
    const value = given ?? words[++at];
    const cycles = /^--([ir][12])-cycles$/.exec(option);
    if (value === undefined) overrides.areUnclear = true;
    else if (option === '--settings') addSettings(overrides, value);
    else if (cycles !== null) addCycles(overrides, cycles[1]!.toUpperCase() as ReadName, value);
    else if (option === '-r' || option === '--run-manifest') overrides.replaceManifest = true;
  }
}

/** Options of Bases2Fastq with a value that matters here, or whose value looks like a mask that does. */
const TAKES_VALUE = /^(-r|--run-manifest|--settings|--[ir][12]-cycles|--filter-mask|--cyto-fastq-mask)$/;

/** The words of a command line. Quotes protect spaces. */
function splitArguments(text: string): string[] {
  const words = text.match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? [];
  return words.map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
}

/** All texts in a JSON value, and the names of its members. */
function* textsIn(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null)
    for (const [name, member] of Object.entries(value)) {
      yield name;
      yield* textsIn(member);
    }
}

const LANES = ['1', '2', '1+2', '2+1'];

/** Adds settings such as `I1Mask,I1:Y8N*`: one text, several lines, a list, or several `--settings` arguments. */
function addSettings(overrides: ManifestOverrides, value: unknown): void {
  const values = Array.isArray(value) ? value : [value];
  if (!values.every((each) => typeof each === 'string')) overrides.areUnclear = true;
  const texts = values
    .filter((each) => typeof each === 'string')
    .flatMap((text) => text.split(/[\n;]|--settings[\s=]/));
  for (const text of texts) {
    const setting = text.trim().replace(/^(["'])(.*)\1$/, '$2');
    if (setting === '') continue;
    const parsed = parseSetting(setting);
    if (parsed === undefined) overrides.areUnclear = true;
    else overrides.settings.push(parsed);
  }
}

/** Parses `Name,Value` or `Name,Value,Lane`, with spaces around each part. */
function parseSetting(text: string): ManifestOverrides['settings'][number] | undefined {
  const [name = '', value, lane, ...more] = text.split(',').map((part) => part.trim());
  const isSetting =
    /^[A-Za-z][A-Za-z0-9]*$/.test(name) &&
    value !== undefined &&
    !/["']/.test(value) &&
    (lane === undefined || LANES.includes(lane)) &&
    more.length === 0;
  return isSetting ? { name, value, lanes: lanesOf(lane) } : undefined;
}

function lanesOf(text: string | undefined): number[] {
  return text === '1' || text === '2' ? [Number(text)] : [1, 2];
}

function addCycles(overrides: ManifestOverrides, read: ReadName, value: unknown): void {
  const count = typeof value === 'string' && /^\d+$/.test(value.trim()) ? Number(value) : value;
  if (READ_NAMES.includes(read) && Number.isInteger(count) && (count as number) >= 0)
    overrides.cycles[read] = count as number;
  else overrides.areUnclear = true;
}
