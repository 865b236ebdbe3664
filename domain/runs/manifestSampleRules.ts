import { describeCharacter } from './characters.js';
import type { Lane, ManifestContext } from './manifestContext.js';
import type { ManifestSample } from './manifest.js';
import { cellPlace, error, type RatedFinding, warning } from './manifestFindings.js';

export function findNameInOtherCase(context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  const other = context.findEarlier(sample);
  if (other === undefined || other.name === sample.name) return [];
  const message =
    `${sample.name} and ${other.name} in line ${other.line} differ only in upper and lower case. ` +
    'Some file systems treat their files as the same.';
  return [warning('name-case', cellPlace(sample, 'samplename'), message)];
}

export function findProjectCollision(context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  const other = context.findEarlier(sample);
  if (other === undefined || other.name !== sample.name || (other.project ?? '') === (sample.project ?? '')) return [];
  const message =
    `the sample ${sample.name} is in project ${sample.project ?? '(none)'}, but in line ${other.line} in project ` +
    `${other.project ?? '(none)'}. With --no-projects, Bases2Fastq would write both to Samples/${sample.name}. ` +
    'Rename one of them.';
  // Nobody looks at the reads of the control, and a lane that is not analysed has no files.
  const report = /^phix/i.test(sample.name) || !context.isUsed(other) ? warning : error;
  return [report('project-collision', cellPlace(sample, 'samplename'), message)];
}

const isUnusableName = (name: string): boolean => /[/\\\p{Cc}]/u.test(name) || name === '.' || name === '..';

export function findUnusableName(context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  if (!isUnusableName(sample.name) || findDelimiter(context, sample) !== undefined) return [];
  const name = JSON.stringify(sample.name);
  const message = `a folder cannot have the name ${name}. Remove slashes and control characters.`;
  return [warning('sample-name', cellPlace(sample, 'samplename'), message)];
}

export function findUnusualName(context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  const { name } = sample;
  if (isUnusableName(name) || findDelimiter(context, sample) !== undefined) return [];
  if (name.toLowerCase() === 'unassigned') {
    const message = `Bases2Fastq writes reads without a sample to Samples/Unassigned. Rename the sample ${name}.`;
    return [warning('sample-name', cellPlace(sample, 'samplename'), message)];
  }
  const problem = describeUnusualText(name);
  if (problem === undefined) return [];
  const message = `the sample name ${JSON.stringify(name)} ${problem}`;
  return [warning('sample-name', cellPlace(sample, 'samplename'), message)];
}

/** What is unusual about a name or an identifier; undefined where Element's documentation allows it. */
function describeUnusualText(text: string, most = 64): string | undefined {
  const wrong = /[^A-Za-z0-9_-]/u.exec(text)?.[0];
  if (text.length <= most && wrong === undefined) return undefined;
  const problem = text.length > most ? `has ${text.length} characters` : `contains ${describeCharacter(wrong!)}`;
  const length = most === Infinity ? '' : `1 to ${most} `;
  return `${problem}. Element allows ${length}letters, digits, '_' and '-'.`;
}

/** Other identifiers of a row. There is one finding for each text, not for each row. */
export function findUnusualIdentifiers(_context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  const identifiers = [
    { heading: 'project', what: 'project', text: sample.project, most: Infinity },
    { heading: 'externalid', what: 'ExternalID', text: sample.externalId, most: 64 },
  ];
  return identifiers.flatMap(({ heading, what, text, most }) => {
    const problem = text === undefined ? undefined : describeUnusualText(text, most);
    if (problem === undefined) return [];
    const message = `the ${what} ${JSON.stringify(text)} of ${sample.name} ${problem}`;
    return [{ ...warning('identifier', cellPlace(sample, heading), message), group: `${heading}/${text}` }];
  });
}

/** The delimiter of a row that one cell fills, below headings that commas separate. */
export function findDelimiter({ manifest }: ManifestContext, sample: ManifestSample): string | undefined {
  const headings = manifest.headings.samples?.names ?? [];
  if (headings.length < 2 || sample.columnOf(headings[1]!) !== undefined) return undefined;
  return /[;\t|]/.exec(sample.name)?.[0];
}

/** The sample then has no index, so that Bases2Fastq stops if it is not the only one: it is in every lane. */
export function findOtherDelimiter(context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  const delimiter = findDelimiter(context, sample);
  if (delimiter === undefined) return [];
  const message =
    `the cells of this row are separated by ${JSON.stringify(delimiter)} instead of commas, so that all of them are ` +
    'the name of the sample. Other rows may have the same problem. Save the file as CSV.';
  const hasIndex = /^[ACGTN+]+$/i.test(sample.name.split(delimiter)[1]!.trim());
  const isAlone = context.manifest.samples.every(({ name }) => name === sample.name);
  const report = hasIndex && !isAlone ? error : warning;
  return [{ ...report('delimiter', cellPlace(sample, 'samplename'), message), group: delimiter }];
}

export function findSampleInSkippedLane({ run }: ManifestContext, { lane, samples }: Lane): RatedFinding[] {
  const sample = samples.find((each) => each.lanes.length === 1);
  if (sample === undefined) return [];
  const message = `${sample.name} is in lane ${lane}, but this run analyses only lane ${run.analysisLanes}`;
  return [warning('lane-not-run', cellPlace(sample, 'lane'), message)];
}
