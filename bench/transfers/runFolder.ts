import { randomFillSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { RUN_FOLDER } from './sinkMessages.js';

const MIB = 1024 * 1024;
/** 2,000 files of 4 GiB: base calls of many sizes, and some that need parts. */
const FILES = [
  { count: 1500, bytes: 0.5 * MIB },
  { count: 400, bytes: 4 * MIB },
  { count: 100, bytes: 17.5 * MIB },
];

const RUN_FILES = {
  'RunParameters.json': { RunName: 'BENCH', InstrumentName: 'AV240001', Cycles: { R1: 1 } },
  'RunUploaded.json': {
    version: '1.0.0',
    instrument: 'AV240001',
    instrumentId: 'i',
    runType: 'Sequencing',
    recipeExecutionId: 'r',
    runID: 'x',
    outcome: 'OutcomeCompleted',
  },
};

/** The files of a run folder of 4 GiB: names relative to it, and sizes. */
export const LARGE_RUN: readonly (readonly [name: string, size: number])[] = FILES.flatMap(({ count, bytes }, kind) =>
  Array.from({ length: count }, (_, at) => [`BaseCalls/R${kind + 1}_C${String(at + 1).padStart(4, '0')}.zip`, bytes]),
);

/** Bytes of the files of a run folder. */
export const bytesOf = (files: typeof LARGE_RUN): number => files.reduce((sum, [, size]) => sum + size, 0);

/**
 * Makes a run folder that can be uploaded: the given files, and those that make it a run that has ended.
 * @returns its path
 */
export function makeRunFolder(parent: string, files: typeof LARGE_RUN): string {
  const folder = path.join(parent, RUN_FOLDER);
  const folders = new Set(files.map(([name]) => path.join(folder, path.dirname(name))));
  for (const each of folders) mkdirSync(each, { recursive: true });
  const content = randomFillSync(Buffer.alloc(2 * files.reduce((most, [, size]) => Math.max(most, size), 1)));
  files.forEach(([name, size], at) => {
    // Another beginning for each file, so that no two large ones are equal.
    const start = (at * 4099) % (content.length - size);
    writeFileSync(path.join(folder, name), content.subarray(start, start + size));
  });
  const baseCalls = path.join(folder, 'BaseCalls');
  mkdirSync(baseCalls, { recursive: true });
  writeFileSync(path.join(baseCalls, 'R1_C001.zip'), 'base calls');
  for (const [name, data] of Object.entries(RUN_FILES)) writeFileSync(path.join(folder, name), JSON.stringify(data));
  return folder;
}
