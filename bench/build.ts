/** The folder of the build that is measured. `run.ts` has made it from the sources as they were when it began. */
export const BUILD = process.argv[3]!;
