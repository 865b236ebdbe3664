import { findMeantHeading, HEADING_TITLES, type ManifestSample, type RunManifest } from './manifest.js';
import {
  type EffectiveSetting,
  type IndexRead,
  type Lane,
  ManifestContext,
  type ManifestedRun,
} from './manifestContext.js';
import { type RatedFinding, warning, withoutRepetitions } from './manifestFindings.js';
import {
  findEmptySequences,
  findMissingIndex,
  findMissingIndexOfRead,
  findRepeatedIndexes,
  findSimilarIndexes,
  findSpacesInIndex,
  findUnusedIndexReads,
  findWrongIndexCharacters,
  findWrongIndexLengths,
} from './manifestIndexRules.js';
import {
  findNameInOtherCase,
  findOtherDelimiter,
  findProjectCollision,
  findSampleInSkippedLane,
  findUnusableName,
  findUnusualIdentifiers,
  findUnusualName,
} from './manifestSampleRules.js';
import {
  findConflictingSetting,
  findMalformedMask,
  findTooLongMask,
  findUnknownSetting,
  findUnusualValue,
} from './manifestSettingRules.js';

type Rule<Subject> = (context: ManifestContext, subject: Subject) => RatedFinding[];

/**
 * All rules by what they check. Sources: Element's documentation of run manifests and of `--no-projects`.
 * A rule may use one id for several findings.
 */
const RULES = {
  setting: [findUnknownSetting, findConflictingSetting, findMalformedMask, findTooLongMask, findUnusualValue],
  manifest: [
    findExtraCarriageReturns,
    findUnknownSections,
    findUnusedHeadings,
    findIgnoredProjects,
    findExtraCells,
    findNoSamples,
  ],
  sample: [
    findNameInOtherCase,
    findProjectCollision,
    findUnusableName,
    findUnusualName,
    findUnusualIdentifiers,
    findWrongIndexCharacters,
    findEmptySequences,
    findSpacesInIndex,
    findOtherDelimiter,
  ],
  indexRead: [findWrongIndexLengths, findMissingIndexOfRead],
  lane: [findUnusedIndexReads, findMissingIndex, findRepeatedIndexes, findSimilarIndexes],
  skippedLane: [findSampleInSkippedLane],
} as const satisfies {
  setting: readonly Rule<EffectiveSetting>[];
  manifest: readonly Rule<undefined>[];
  sample: readonly Rule<ManifestSample>[];
  indexRead: readonly Rule<IndexRead>[];
  lane: readonly Rule<Lane>[];
  skippedLane: readonly Rule<Lane>[];
};

/** Checks a manifest against all rules: settings first, then the columns, the samples, and each lane. */
export function findManifestProblems(manifest: RunManifest, run: ManifestedRun): RatedFinding[] {
  const context = new ManifestContext(manifest, run);
  // Loops instead of flatMap, which is slow for a hundred thousand samples.
  const apply = <Subject>(rules: readonly Rule<Subject>[], subjects: readonly Subject[]): RatedFinding[] => {
    const findings: RatedFinding[] = [];
    for (const subject of subjects)
      for (const rule of rules) for (const finding of rule(context, subject)) findings.push(finding);
    return findings;
  };
  const ofLanes = context
    .lanes()
    .flatMap((lane) =>
      context.isAnalysed(lane.lane)
        ? [...apply(RULES.indexRead, context.indexReads(lane)), ...apply(RULES.lane, [lane])]
        : apply(RULES.skippedLane, [lane]),
    );
  return [
    ...apply(RULES.setting, context.settings()),
    ...apply(RULES.manifest, [undefined]),
    ...withoutRepetitions([
      ...apply(
        RULES.sample,
        manifest.samples.filter((sample) => context.isUsed(sample)),
      ),
      // Nobody documents whether Bases2Fastq reads the rows of other lanes.
      ...apply(
        RULES.sample,
        manifest.samples.filter((sample) => !context.isUsed(sample)),
      ).map((finding): RatedFinding => ({ ...finding, severity: 'warning' })),
    ]),
    ...withoutRepetitions(ofLanes),
  ];
}

/** Headings of other instruments, whose columns Bases2Fastq only passes through. */
function findUnusedHeadings({ manifest }: ManifestContext): RatedFinding[] {
  return (['settings', 'samples'] as const).flatMap((section) => {
    const headings = manifest.headings[section];
    if (headings === undefined) return [];
    return headings.original.flatMap((heading) => {
      const meant = findMeantHeading(section, heading);
      if (meant === undefined || headings.names.includes(meant)) return [];
      const title = HEADING_TITLES[meant] ?? meant;
      const what = section === 'settings' ? 'setting' : 'sample';
      const message =
        `the column ${heading} is not one of Bases2Fastq's, so no ${what} has ${/^[IE]/.test(title) ? 'an' : 'a'} ${title}. ` +
        `If it contains this, name it ${title}.`;
      return [warning('heading', { line: headings.line }, message)];
    });
  });
}

/** An empty manifest of a run with index reads. Bases2Fastq then makes one sample of each lane. */
function findNoSamples(context: ManifestContext): RatedFinding[] {
  return context.manifest.samples.length === 0 ? findUnusedIndexReads(context, { lane: 1, samples: [] }) : [];
}

function findIgnoredProjects({ manifest }: ManifestContext): RatedFinding[] {
  const headings = manifest.headings.samples;
  if (headings?.names.includes('project') !== true) return [];
  if (manifest.samples.every((sample) => sample.project === undefined)) return [];
  const message =
    'the column Project does not create folders: polony always runs Bases2Fastq with --no-projects, ' +
    'so all samples are directly in Samples/';
  return [warning('projects-ignored', { line: headings.line }, message)];
}

/** Sections that Bases2Fastq does not document, beside those that it reads. */
function findUnknownSections({ manifest }: ManifestContext): RatedFinding[] {
  return manifest.unknownSections.slice(0, 1).map(({ name, line }) => {
    const message =
      `the section [${name}] is unknown. Sections are [RunValues], [Settings] and [Samples]. polony skipped it, but ` +
      'Bases2Fastq may refuse it.';
    return warning('section', { line }, message);
  });
}

/** Cells below no heading: usually the rest of a text that contains a comma. */
function findExtraCells({ manifest }: ManifestContext): RatedFinding[] {
  const [first] = manifest.extraCells;
  if (first === undefined) return [];
  const others = manifest.extraCells.length > 1 ? ` Other rows have such cells, too.` : '';
  const message =
    `the cell ${JSON.stringify(first.text)} is below no heading.${others} If it is the rest of a text with a comma, ` +
    'put the text into quotes.';
  return [warning('extra-cell', first, message)];
}

/** Line ends of two carriage returns and a line feed, which some copies of files between systems make. */
function findExtraCarriageReturns({ manifest }: ManifestContext): RatedFinding[] {
  if (manifest.extraCarriageReturn === undefined) return [];
  const message =
    'lines end with several carriage returns and a line feed. Bases2Fastq may take the carriage return for a part of ' +
    'the last cell. Save the file with the line ends LF or CRLF.';
  return [warning('line-ends', { line: manifest.extraCarriageReturn }, message)];
}
