/** Since this version, AVITI OS writes files that an older Bases2Fastq cannot read (Element's compatibility notes). */
const GATE = { platform: [3, 4, 0], bases2fastq: [2, 2, 0] } as const;

function parseVersion(text: string | null | undefined): number[] | undefined {
  const match = /(?:^|[^\d.])(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?/.exec(` ${text ?? ''}`);
  return match === null ? undefined : [match[1], match[2], match[3] ?? '0'].map(Number);
}

function isBefore(one: readonly number[], other: readonly number[]): boolean {
  for (const [at, part] of one.entries()) if (part !== other[at]) return part < other[at]!;
  return false;
}

/** Finds the version of Bases2Fastq in texts such as `Bases2Fastq v2.2.0`; undefined when no text has one. */
export function findBases2FastqVersion(...texts: (string | null | undefined)[]): string | undefined {
  for (const text of texts) {
    const match = /bases2fastq[^\d]{0,12}(\d{1,4}\.\d{1,4}(?:\.\d{1,4})?)/i.exec(text ?? '');
    if (match !== null) return match[1];
  }
  return undefined;
}

/**
 * Checks whether a version of Bases2Fastq can read runs of a version of AVITI OS. Unknown versions cause no conflict.
 * @param platformVersion PlatformVersion of RunParameters.json
 * @returns the conflict in a sentence; undefined when there is none.
 */
export function describeVersionConflict(
  platformVersion: string | null | undefined,
  bases2fastqVersion: string | null | undefined,
): string | undefined {
  const [platform, bases2fastq] = [parseVersion(platformVersion), parseVersion(bases2fastqVersion)];
  if (
    platform === undefined ||
    bases2fastq === undefined ||
    isBefore(platform, GATE.platform) ||
    !isBefore(bases2fastq, GATE.bases2fastq)
  )
    return undefined;
  return (
    `Runs of AVITI OS ${platformVersion} need Bases2Fastq ${GATE.bases2fastq.join('.')} or later, ` +
    `but the shared workflow has ${bases2fastqVersion}`
  );
}
