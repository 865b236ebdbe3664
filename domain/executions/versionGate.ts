/** AVITI OS from here on writes what older Bases2Fastq cannot read (Element's compatibility notes). */
const GATE = { platform: [3, 4, 0], bases2fastq: [2, 2, 0] } as const;

function parse(text: string | null | undefined): number[] | undefined {
  const match = /(?:^|[^\d.])(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?/.exec(` ${text ?? ''}`);
  return match === null ? undefined : [match[1], match[2], match[3] ?? '0'].map(Number);
}

function isBefore(one: readonly number[], other: readonly number[]): boolean {
  for (const [at, part] of one.entries()) if (part !== other[at]) return part < other[at]!;
  return false;
}

/** A version as texts about Bases2Fastq name it, such as `Bases2Fastq v2.2.0`; undefined where none does. */
export function findBases2FastqVersion(...texts: (string | null | undefined)[]): string | undefined {
  for (const text of texts) {
    const match = /bases2fastq[^\d]{0,12}(\d{1,4}\.\d{1,4}(?:\.\d{1,4})?)/i.exec(text ?? '');
    if (match !== null) return match[1];
  }
  return undefined;
}

/**
 * Whether a version of Bases2Fastq reads the runs of a version of AVITI OS. Where one of them is not known, nothing is said.
 * @param platformVersion PlatformVersion of RunParameters.json
 * @returns what is wrong, undefined where nothing is known to be.
 */
export function describeVersionConflict(
  platformVersion: string | null | undefined,
  bases2fastqVersion: string | null | undefined,
): string | undefined {
  const [platform, bases2fastq] = [parse(platformVersion), parse(bases2fastqVersion)];
  if (
    platform === undefined ||
    bases2fastq === undefined ||
    isBefore(platform, GATE.platform) ||
    !isBefore(bases2fastq, GATE.bases2fastq)
  )
    return undefined;
  return `The run is of AVITI OS ${platformVersion}, which needs Bases2Fastq ${GATE.bases2fastq.join('.')} or later; the shared workflow has ${bases2fastqVersion}`;
}
