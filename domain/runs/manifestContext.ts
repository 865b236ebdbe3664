import { findMeantHeading, type ManifestSample, type ManifestSetting, type RunManifest } from './manifest.js';
import type { ManifestPlace } from './manifestFindings.js';
import { countUsedCycles, type MaskedCycles, parseMask } from './manifestMasks.js';
import { findManifestOverrides, type ManifestOverrides } from './manifestOverrides.js';
import type { Cycles } from './runParameters.js';

/** What is known about the run. polony skips rules that need facts which are unknown. */
export interface ManifestedRun {
  cycles?: Cycles | null;
  /** `1`, `2` or `1+2`. */
  analysisLanes?: string | null;
  /** The parameters of the flow and the execution, by their names in the workflow. */
  parameters?: Readonly<Record<string, unknown>>;
}

/** The samples of one lane. */
export interface Lane {
  lane: number;
  samples: readonly ManifestSample[];
}

/** A read of index bases in one lane. */
export interface IndexRead extends Lane {
  read: 'I1' | 'I2';
  cycles: Cycles;
  /** The lane's mask, if the manifest or a parameter has one. */
  setting: EffectiveSetting | undefined;
  /** How many bases an index must have; undefined if that is unclear. */
  masked: MaskedCycles | undefined;
}

/** A setting of the manifest, or of a parameter, which has no place in the manifest. */
export type EffectiveSetting = Pick<ManifestSetting, 'name' | 'value' | 'lanes'> & ManifestPlace;

/** What rules need to know besides their subject. */
export class ManifestContext {
  private readonly firstByName = new Map<string, ManifestSample>();
  private readonly conflicts: ReadonlyMap<ManifestSetting, SettingConflict>;
  private readonly analysedLanes: readonly number[] | undefined;
  private readonly overrides: ManifestOverrides;
  private indexLengths: ReadonlySet<number> | 'unknown' | undefined;
  private readonly effective = new Map<string, EffectiveSetting>();

  constructor(
    readonly manifest: RunManifest,
    readonly run: ManifestedRun,
  ) {
    for (const sample of manifest.samples) {
      const name = sample.name.toLowerCase();
      if (!this.firstByName.has(name)) this.firstByName.set(name, sample);
    }
    this.conflicts = findConflicts(manifest.settings);
    this.overrides = findManifestOverrides(run.parameters ?? {});
    for (const setting of this.settings())
      for (const lane of setting.lanes) this.effective.set(settingKey(setting.name, lane), setting);
    const lanes = run.analysisLanes ?? '';
    this.analysedLanes = /^[12](\+[12])?$/.test(lanes) ? lanes.split('+').map(Number) : undefined;
  }

  /** An earlier sample with the same name, in any case. */
  findEarlier(sample: ManifestSample): ManifestSample | undefined {
    const first = this.firstByName.get(sample.name.toLowerCase());
    return first === sample ? undefined : first;
  }

  findConflict(setting: EffectiveSetting): SettingConflict | undefined {
    return this.conflicts.get(setting as ManifestSetting);
  }

  /** The settings of the manifest and then those of the parameters. */
  settings(): EffectiveSetting[] {
    return [...this.manifest.settings, ...this.overrides.settings];
  }

  /** Whether a setting counts in a lane that the run analyses: no later one, and none of a parameter, replaces it. */
  isEffective(setting: EffectiveSetting): boolean {
    return setting.lanes.some((lane) => this.isAnalysed(lane) && this.findSetting(setting.name, lane) === setting);
  }

  /** The numbers of cycles; undefined where polony does not know them or what a parameter does to them. */
  cycles(): Cycles | undefined {
    const isKnown = this.run.cycles != null && Object.keys(this.run.cycles).length > 0;
    return isKnown && !this.overrides.areUnclear ? { ...this.run.cycles, ...this.overrides.cycles } : undefined;
  }

  /** The setting that counts for a lane: that of a parameter before that of the manifest, and the last one of each. */
  findSetting(name: string, lane: number): EffectiveSetting | undefined {
    return this.effective.get(settingKey(name, lane));
  }

  /** Whether the manifest has several values for a setting, or its lanes are in a column that Bases2Fastq ignores. */
  private isAmbiguous(name: string, lane: number): boolean {
    const isMeant = ({ name: other }: { name: string }): boolean => other.toLowerCase() === name.toLowerCase();
    if (this.overrides.settings.some(isMeant)) return false;
    const meant = this.manifest.settings.filter(isMeant);
    if (meant.length > 0 && this.findMisnamed('settings', 'lane') !== undefined) return true;
    const values = meant.filter(({ lanes }) => lanes.includes(lane)).map(({ value }) => value);
    return new Set(values).size > 1;
  }

  /** A heading, as in the file, that probably means one that its section lacks. */
  findMisnamed(section: 'settings' | 'samples', meant: string): string | undefined {
    const { names = [], original = [] } = this.manifest.headings[section] ?? {};
    if (names.includes(meant)) return undefined;
    return original.find((heading) => findMeantHeading(section, heading) === meant);
  }

  isAnalysed(lane: number): boolean {
    return this.analysedLanes === undefined || this.analysedLanes.includes(lane);
  }

  /** Whether the run analyses a lane of a sample. */
  isUsed({ lanes }: ManifestSample): boolean {
    return lanes.some((lane) => this.isAnalysed(lane));
  }

  /** Lanes that have samples. */
  lanes(): Lane[] {
    return [1, 2]
      .map((lane) => ({ lane, samples: this.manifest.samples.filter((sample) => sample.lanes.includes(lane)) }))
      .filter(({ samples }) => samples.length > 0);
  }

  /** The index reads of a lane; none where polony does not know their cycles or what a parameter does to them. */
  indexReads(lane: Lane): IndexRead[] {
    const cycles = this.cycles();
    if (cycles === undefined) return [];
    return (['I1', 'I2'] as const).map((read) => {
      const setting = this.findSetting(`${read}Mask`, lane.lane);
      const mask = this.isAmbiguous(`${read}Mask`, lane.lane) ? undefined : parseMask(setting?.value ?? 'Y*', read);
      return { ...lane, read, cycles, setting, masked: mask && countUsedCycles(mask, cycles) };
    });
  }

  /** Whether an index of this length may be right in a lane, as far as polony knows. */
  mayHaveIndexOfLength(length: number): boolean {
    this.indexLengths ??= this.findIndexLengths();
    return this.indexLengths === 'unknown' || this.indexLengths.has(length);
  }

  private findIndexLengths(): ReadonlySet<number> | 'unknown' {
    const reads = [1, 2].flatMap((lane) => this.indexReads({ lane, samples: [] }));
    const lengths = reads.map(({ masked }) => (masked !== undefined && 'used' in masked ? masked.used : undefined));
    return lengths.length === 0 || lengths.includes(undefined) ? 'unknown' : new Set(lengths as number[]);
  }
}

const settingKey = (name: string, lane: number): string => `${name.toLowerCase()}/${lane}`;

interface SettingConflict {
  earlier: ManifestSetting;
  lane: number;
}

/** Bases2Fastq accepts several rows of these settings. */
const isRepeatable = (setting: ManifestSetting): boolean => /^r[12]adapter$/i.test(setting.name);

/** Settings that contradict an earlier one, each in the first lane where it does. */
function findConflicts(settings: readonly ManifestSetting[]): Map<ManifestSetting, SettingConflict> {
  const conflicts = new Map<ManifestSetting, SettingConflict>();
  const latest = new Map<string, ManifestSetting>();
  for (const setting of settings.filter((each) => !isRepeatable(each))) {
    for (const lane of setting.lanes) {
      const key = `${setting.name.toLowerCase()}/${lane}`;
      const earlier = latest.get(key);
      if (earlier !== undefined && earlier.line !== setting.line && earlier.value !== setting.value) {
        conflicts.set(setting, { earlier, lane });
        break;
      }
      latest.set(key, setting);
    }
  }
  return conflicts;
}
