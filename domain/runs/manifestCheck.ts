import { FileFormatError } from '../errors.js';
import { type ManifestSample, type ManifestSetting, parseRunManifest, type RunManifest } from './manifest.js';
import type { Cycles, ReadName } from './runParameters.js';

/** What is wrong with a run manifest, or may be; lines and columns from 1. */
export interface ManifestFinding {
  /** For programs. */
  rule: string;
  line?: number;
  column?: number;
  message: string;
}

/** What a check of a run manifest has found. */
export interface ManifestReport {
  errors: ManifestFinding[];
  warnings: ManifestFinding[];
  /** Number of distinct names of samples. */
  samples: number;
  /** How many findings there are beyond those that are named. */
  more: number;
}

/** What is known of the run; a rule that needs what is not known is left out. */
export interface ManifestedRun {
  cycles?: Cycles | null;
  /** `1`, `2` or `1+2`. */
  analysisLanes?: string | null;
}

const FINDINGS = 100;
/** Pairs of samples are compared up to here: 2 million comparisons take a second. */
const COMPARED = 2000;
/** Bases2Fastq's default. */
const MISMATCHES = 1;
/** Settings of Bases2Fastq, as the RunManifest.json that it writes names them (with `Default` or a read before them). */
const SETTINGS = new Set(
  [
    'I1Mask',
    'I2Mask',
    'UmiMask',
    'R1FastQMask',
    'R2FastQMask',
    'I1FastQ',
    'I2FastQ',
    'UmiFastQ',
    'I1MismatchThreshold',
    'I2MismatchThreshold',
    'SpikeInAsUnassigned',
    'AdapterTrimType',
    ...['R1', 'R2'].flatMap((read) =>
      [
        'Adapter',
        'AdapterTrim',
        'AdapterNMask',
        'AdapterMinimumTrimmedLength',
        'AdapterMinimumStringency',
        'AdapterMinimumOverlap',
      ].map((name) => read + name),
    ),
  ].map((name) => name.toLowerCase()),
);

/** The manifest's text. @throws FileFormatError at the first byte that is no UTF-8. */
function decode(content: Uint8Array): string {
  if ((content[0] === 0xff && content[1] === 0xfe) || (content[0] === 0xfe && content[1] === 0xff)) {
    throw new FileFormatError(
      'RunManifest.csv',
      'the file is UTF-16, as spreadsheets write "Unicode text"; save it as UTF-8 (CSV UTF-8)',
      1,
      1,
    );
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    // Said with its place below.
  }
  for (let line = 1, start = 0; ; line++) {
    const newline = content.indexOf(0x0a, start);
    const bytes = content.subarray(start, newline < 0 ? undefined : newline);
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      throw new FileFormatError(
        'RunManifest.csv',
        'the file is not UTF-8 here; save it as UTF-8 (CSV UTF-8)',
        line,
        new TextDecoder().decode(bytes).indexOf('\uFFFD') + 1,
      );
    }
    if (newline < 0)
      throw new FileFormatError('RunManifest.csv', 'the file is not UTF-8; save it as UTF-8 (CSV UTF-8)', line);
    start = newline + 1;
  }
}

/** How many cycles a mask such as `I1:Y8N*` leaves of its read; undefined where that cannot be told. */
function cyclesOf(mask: string, cycles: Cycles): number | undefined {
  const match = /^\s*(I1|I2|R1|R2)\s*:\s*((?:[YN](?:\d+|\*)?)+)\s*$/i.exec(mask);
  if (match === null) return undefined;
  const total = cycles[match[1]!.toUpperCase() as ReadName] ?? 0;
  const parts = [...match[2]!.matchAll(/([YN])(\d+|\*)?/gi)].map(([, kind, count]) => ({
    used: kind!.toUpperCase() === 'Y',
    count: count === '*' ? undefined : Number(count ?? 1),
  }));
  if (parts.filter((part) => part.count === undefined).length > 1) return undefined;
  const named = parts.reduce((sum, part) => sum + (part.count ?? 0), 0);
  if (named > total) return undefined;
  return parts.reduce((sum, part) => sum + (part.used ? (part.count ?? total - named) : 0), 0);
}

function distance(one: string, other: string): number {
  let differing = Math.abs(one.length - other.length);
  for (let at = 0; at < Math.min(one.length, other.length); at++)
    if (one[at] !== other[at] && one[at] !== 'N' && other[at] !== 'N') differing++;
  return differing;
}

/**
 * Checks a run manifest before a run is started that would cost money and fail: what makes Bases2Fastq abort, or samples of
 * two projects end in one folder (`--no-projects`), is an error; what may be meant otherwise is a warning. Never throws.
 * Source of the rules: Element's documentation of run manifests and `--no-projects`, as collected for polony.
 * @param content its text, or its bytes, of which the encoding is checked too.
 */
export function checkRunManifest(content: string | Uint8Array, run: ManifestedRun): ManifestReport {
  const report: ManifestReport = { errors: [], warnings: [], samples: 0, more: 0 };
  const add = (
    list: ManifestFinding[],
    rule: string,
    place: { line?: number; column?: number },
    message: string,
  ): void => {
    if (report.errors.length + report.warnings.length >= FINDINGS && !(list === report.errors && list.length === 0))
      report.more++;
    else
      list.push({
        rule,
        ...(place.line !== undefined && { line: place.line }),
        ...(place.column !== undefined && { column: place.column }),
        message,
      });
  };
  const error = (rule: string, place: { line?: number; column?: number }, message: string): void =>
    add(report.errors, rule, place, message);
  const warning = (rule: string, place: { line?: number; column?: number }, message: string): void =>
    add(report.warnings, rule, place, message);
  const of = (sample: ManifestSample, heading: string) => ({
    line: sample.line,
    column: sample.columns[heading] ?? sample.columns.samplename ?? 1,
  });

  let manifest: RunManifest;
  try {
    manifest = parseRunManifest(typeof content === 'string' ? content : decode(content));
  } catch (thrown) {
    if (!(thrown instanceof FileFormatError)) throw thrown;
    error('format', thrown, thrown.message.replace(/^RunManifest\.csv[^:]*: /, ''));
    return report;
  }
  const { samples, settings } = manifest;
  report.samples = new Set(samples.map((sample) => sample.name)).size;

  const settingOf = (name: string, lane: number): ManifestSetting | undefined =>
    settings.findLast((setting) => setting.name.toLowerCase() === name.toLowerCase() && setting.lanes.includes(lane));
  const seen = new Map<string, ManifestSetting>();
  for (const setting of settings) {
    const name = setting.name.toLowerCase();
    if (!SETTINGS.has(name))
      warning(
        'unknown-setting',
        setting,
        `the setting ${setting.name} is not one that polony knows; Bases2Fastq may not either`,
      );
    // Adapters may be given several times, one a row.
    if (/^r[12]adapter$/.test(name)) continue;
    for (const lane of setting.lanes) {
      const before = seen.get(`${name}/${lane}`);
      if (before !== undefined && before.line !== setting.line && before.value !== setting.value) {
        warning(
          'setting-twice',
          setting,
          `the setting ${setting.name} is given in line ${before.line} too, with another value for lane ${lane}`,
        );
        break;
      }
      seen.set(`${name}/${lane}`, setting);
    }
    if (/^i[12]mask$/.test(name) && !/^\s*(I1|I2|R1|R2)\s*:\s*([YN](\d+|\*)?)+\s*$/i.test(setting.value))
      warning(
        'mask',
        setting,
        `${setting.name} is ${JSON.stringify(setting.value)}; a mask looks like ${setting.name.slice(0, 2).toUpperCase()}:Y8N*`,
      );
  }

  if (
    manifest.headings.samples?.names.includes('project') === true &&
    samples.some((sample) => sample.project !== undefined)
  ) {
    warning(
      'projects-ignored',
      { line: manifest.headings.samples.line },
      'the column Project does not make folders: polony always runs Bases2Fastq with --no-projects, so all samples lie side by side in Samples/',
    );
  }
  const names = new Map<string, ManifestSample>();
  for (const sample of samples) {
    const other = names.get(sample.name.toLowerCase());
    if (other === undefined) names.set(sample.name.toLowerCase(), sample);
    else if (other.name !== sample.name)
      warning(
        'name-case',
        of(sample, 'samplename'),
        `${sample.name} differs from ${other.name} in line ${other.line} in upper and lower case only; where that makes no difference their files are one`,
      );
    else if ((other.project ?? '') !== (sample.project ?? '')) {
      error(
        'project-collision',
        of(sample, 'samplename'),
        `the sample ${sample.name} is in project ${sample.project ?? '(none)'} here and in ${other.project ?? '(none)'} in line ${other.line}; with --no-projects both would be written to Samples/${sample.name}. Give one of them another name`,
      );
    }
    if (/[/\\\p{Cc}]/u.test(sample.name) || sample.name === '.' || sample.name === '..')
      error(
        'sample-name',
        of(sample, 'samplename'),
        `${JSON.stringify(sample.name)} cannot be the name of a folder; leave out slashes and control characters`,
      );
    else if (!/^[A-Za-z0-9._-]+$/.test(sample.name))
      warning(
        'sample-name',
        of(sample, 'samplename'),
        `${JSON.stringify(sample.name)} has characters beside letters, digits, '.', '_' and '-', which tools that read the FASTQ files may not take`,
      );
    for (const heading of ['index1', 'index2'] as const) {
      const at = /[^ACGTN+]/.exec(sample[heading]);
      if (at !== null)
        error(
          'index-characters',
          of(sample, heading),
          `${heading === 'index1' ? 'Index1' : 'Index2'} of ${sample.name} has ${JSON.stringify(at[0])}; an index has A, C, G, T and N only`,
        );
    }
  }

  const { cycles } = run;
  const lanesOfRun =
    run.analysisLanes == null || !/^[12](\+[12])?$/.test(run.analysisLanes)
      ? undefined
      : run.analysisLanes.split('+').map(Number);
  for (const lane of [1, 2]) {
    const inLane = samples.filter((sample) => sample.lanes.includes(lane));
    if (inLane.length === 0) continue;
    if (lanesOfRun !== undefined && !lanesOfRun.includes(lane)) {
      const only = inLane.find((sample) => sample.lanes.length === 1);
      if (only !== undefined)
        warning(
          'lane-not-run',
          of(only, 'lane'),
          `${only.name} is in lane ${lane}, which this run does not analyse (${run.analysisLanes})`,
        );
      continue;
    }
    if (cycles != null) {
      for (const read of ['I1', 'I2'] as const) {
        const heading = read === 'I1' ? 'index1' : 'index2';
        const setting = settingOf(`${read}Mask`, lane);
        const mask = setting?.value ?? `${read}:Y*`;
        const length = cyclesOf(mask, cycles);
        if (length === undefined) {
          if (setting !== undefined && /^\s*(I1|I2|R1|R2)\s*:\s*([YN](\d+|\*)?)+\s*$/i.test(mask))
            error(
              'mask-length',
              setting,
              `${setting.name} ${mask} asks for more cycles than the read has (${cycles[mask.trim().slice(0, 2).toUpperCase() as ReadName] ?? 0})`,
            );
          continue;
        }
        // Bases2Fastq aborts where lengths differ; said once a length, not once a sample.
        const told = new Set<number>();
        for (const sample of inLane) {
          const has = sample[heading].length;
          if (has === 0 || has === length || told.has(has)) continue;
          told.add(has);
          const count = inLane.filter((each) => each[heading].length === has).length;
          error(
            'index-length',
            of(sample, heading),
            `${heading === 'index1' ? 'Index1' : 'Index2'} of ${sample.name} has ${has} bases${count > 1 ? ` (and ${count - 1} more rows of lane ${lane})` : ''}; the run has ${length} for it (${read}: ${cycles[read] ?? 0} cycles${setting === undefined ? '' : `, mask ${mask}`}). Correct the index, or give the setting ${read}Mask`,
          );
        }
      }
    }
    const bare = inLane.find((sample) => sample.index1 === '' && sample.index2 === '');
    if (bare !== undefined && new Set(inLane.map((sample) => sample.name)).size > 1)
      error(
        'index-missing',
        of(bare, 'index1'),
        `${bare.name} has no index, and lane ${lane} has other samples; their reads cannot be told apart`,
      );
    const pairs = new Map<string, ManifestSample>();
    for (const sample of inLane) {
      if (sample === bare || (sample.index1 === '' && sample.index2 === '')) continue;
      const pair = `${sample.index1}+${sample.index2}`;
      const other = pairs.get(pair);
      if (other === undefined) pairs.set(pair, sample);
      else if (other.name === sample.name)
        warning(
          'row-twice',
          of(sample, 'samplename'),
          `${sample.name} with index ${pair} stands in line ${other.line} too, for lane ${lane}`,
        );
      else
        error(
          'index-twice',
          of(sample, 'index1'),
          `${sample.name} has the index ${pair} of ${other.name} in line ${other.line}, both in lane ${lane}`,
        );
    }
    const distinct = [...pairs.values()].slice(0, COMPARED);
    const allowed = (read: string): number => {
      const value = settingOf(`${read}MismatchThreshold`, lane)?.value;
      return value !== undefined && /^\d+$/.test(value) ? Number(value) : MISMATCHES;
    };
    const [first, second] = [allowed('I1'), allowed('I2')];
    compare: for (const [at, sample] of distinct.entries()) {
      for (const other of distinct.slice(at + 1)) {
        if (
          other.name === sample.name ||
          distance(sample.index1, other.index1) > first ||
          distance(sample.index2, other.index2) > second
        )
          continue;
        warning(
          'index-near',
          of(other, 'index1'),
          `the index of ${other.name} is so near to that of ${sample.name} in line ${sample.line} that with ${first} and ${second} mismatches allowed reads fit both (lane ${lane}); there may be more`,
        );
        break compare;
      }
    }
  }
  return report;
}

/** Findings as one text, each with its place. */
export function describeFindings(findings: readonly ManifestFinding[], most = 5): string {
  const shown = findings
    .slice(0, most)
    .map(
      ({ line, column, message }) =>
        `${line === undefined ? '' : `line ${line}${column === undefined ? '' : ` column ${column}`}: `}${message}`,
    );
  return `${shown.join('; ')}${findings.length > most ? `; and ${findings.length - most} more` : ''}`;
}
