import { unzipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { expectedBaseCalls, parseRunFolderName, totalCycles } from '../../domain/runFolder.js';
import { describeRun, runFiles, runFolderName, runUploadedText } from '../../local/instrument.js';

const run = describeRun({ runName: 'UNIT_1', cycles: { R1: 3, R2: 2, I1: 2, I2: 0 } });
const contentOf = (name: string): Buffer => Buffer.from([...runFiles(run)].find((file) => file.path === name)!.content());

describe('the folder of a simulated run', () => {
  it('has a name that is taken apart again', () => {
    expect(parseRunFolderName(runFolderName(run), run.instrumentName)).toEqual({ date: run.date, instrumentName: run.instrumentName, runName: run.runName });
  });

  it('has the expected BaseCalls in order, all zips, and fewer for a run that was stopped', () => {
    const names = [...runFiles(run)].map((file) => file.path).filter((name) => name.startsWith('BaseCalls/'));
    expect(names).toEqual(expectedBaseCalls(run.cycles));
    expect(names).toHaveLength(totalCycles(run.cycles));
    for (const name of names) expect(Object.values(unzipSync(contentOf(name)))[0]).toHaveLength(run.bytesPerCycle);
    expect([...runFiles(run, 2)].filter((file) => file.path.startsWith('BaseCalls/'))).toHaveLength(2);
  });

  it('begins with the parameters and never names RunUploaded.json, which ends it', () => {
    const names = [...runFiles(run)].map((file) => file.path);
    expect(names.slice(0, 2)).toEqual(['RunParameters.json', 'RunManifest.csv']);
    expect(names).not.toContain('RunUploaded.json');
    expect(new Set(names).size).toBe(names.length);
  });

  it('agrees with itself, and differs from another run', () => {
    const parameters = JSON.parse(contentOf('RunParameters.json').toString()) as Record<string, unknown>;
    const uploaded = JSON.parse(runUploadedText(run, 'stopped')) as Record<string, unknown>;
    expect(uploaded).toMatchObject({ outcome: 'OutcomeStopped', runID: parameters.RunID, recipeExecutionId: parameters.RecipeExecutionID, instrument: parameters.InstrumentName });
    expect(JSON.parse(runUploadedText(describeRun({ runName: 'UNIT_2' }), 'completed'))).not.toMatchObject({ runID: uploaded.runID });
    expect([runUploadedText(run, 'empty'), runUploadedText(run, 'newline')]).toEqual(['', '\n']);
  });
});
