/**
 * The folder of the build that is measured, in the process of a part. `run.ts` has made it from the sources as they were
 * when the bench began.
 */
export const buildFolder = (): string => process.argv[3]!;
