import { unzipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { expectedBaseCalls, parseRunFolderName } from '../../domain/runs/runFolder.js';
import { parseRunManifest } from '../../domain/runs/manifest.js';
import { parseRunParameters } from '../../domain/runs/runParameters.js';
import { describeRun, runFiles, runFolderName, runUploadedText, simulatedSamples } from '../../local/instrument.js';

const run = describeRun({ runName: 'UNIT_1', cycles: { R1: 3, R2: 2, I1: 2, I2: 0 } });
const contentOf = (name: string): Buffer =>
  Buffer.from([...runFiles(run)].find((file) => file.path === name)!.content());

describe('the folder of a simulated run', () => {
  it('has a name that the parser for folder names reads', () => {
    expect(parseRunFolderName(runFolderName(run), run.instrumentName)).toEqual({
      date: run.date,
      instrumentName: run.instrumentName,
      runName: run.runName,
    });
  });

  it('contains the expected BaseCalls in order, as zip files, and fewer for a stopped run', () => {
    const names = [...runFiles(run)].map((file) => file.path).filter((name) => name.startsWith('BaseCalls/'));
    expect(names).toEqual(expectedBaseCalls(run.cycles));
    expect(names).toHaveLength(7);
    for (const name of names) expect(Object.values(unzipSync(contentOf(name)))[0]).toHaveLength(run.bytesPerCycle);
    expect([...runFiles(run, 2)].filter((file) => file.path.startsWith('BaseCalls/'))).toHaveLength(2);
  });

  it('begins with the parameters and leaves out RunUploaded.json, which ends the upload', () => {
    const names = [...runFiles(run)].map((file) => file.path);
    expect(names.slice(0, 2)).toEqual(['RunParameters.json', 'RunManifest.csv']);
    expect(names).not.toContain('RunUploaded.json');
    expect(new Set(names).size).toBe(names.length);
  });

  it('has the same ids in all files, and other ids than another run', () => {
    const parameters = JSON.parse(contentOf('RunParameters.json').toString()) as Record<string, unknown>;
    const uploaded = JSON.parse(runUploadedText(run, 'stopped')) as Record<string, unknown>;
    expect(uploaded).toMatchObject({
      outcome: 'OutcomeStopped',
      runID: parameters.RunID,
      recipeExecutionId: parameters.RecipeExecutionID,
      instrument: parameters.InstrumentName,
    });
    expect(JSON.parse(runUploadedText(describeRun({ runName: 'UNIT_2' }), 'completed'))).not.toMatchObject({
      runID: uploaded.runID,
    });
    expect([runUploadedText(run, 'empty'), runUploadedText(run, 'newline')]).toEqual(['', '\n']);
  });

  it('is readable for the parsers of the product', () => {
    const parameters = parseRunParameters(contentOf('RunParameters.json').toString());
    expect(parameters).toMatchObject({
      runName: 'UNIT_1',
      runType: 'Sequencing',
      cycles: { R1: 3, R2: 2, I1: 2 },
      readOrder: ['I1', 'R1', 'R2'],
    });
    const manifest = parseRunManifest(contentOf('RunManifest.csv').toString());
    const json = JSON.parse(contentOf('RunManifest.json').toString()) as {
      Samples: { SampleName: string; Indexes: { Lane: number; Index1: string }[] }[];
    };
    expect(manifest.samples.map((sample) => sample.name)).toEqual(json.Samples.map((sample) => sample.SampleName));
    expect(json.Samples[0]!.Indexes.map(({ Lane, Index1 }) => [Lane, Index1])).toEqual(
      [1, 2].map((lane) => [lane, manifest.samples[0]!.index1]),
    );
  });

  it('has the cytoprofiling layout for a cytoprofiling run', () => {
    const cytoprofiling = describeRun({ runName: 'CELLS', runType: 'Cytoprofiling' });
    const files = [...runFiles(cytoprofiling)];
    expect(files.some((file) => file.path.startsWith('BaseCalls/') || file.path.startsWith('RunManifest'))).toBe(false);
    expect(new Set(files.map((file) => file.path.split('/')[0]))).toEqual(
      new Set([
        'RunParameters.json',
        'Panel.json',
        'BaseCalling',
        'Cytoprofiling',
        'Projection',
        'RunAnalysisFilesUploaded.json',
        'RunThumbnail.png',
      ]),
    );
    const parameters = parseRunParameters(String(files[0]!.content()));
    expect(parameters).toMatchObject({ runType: 'Cytoprofiling', panelName: 'SIM-PANEL' });
    expect(parameters.cycles).toBeUndefined();
  });

  it('has the requested number of samples, with different indexes of the right length', () => {
    const samples = simulatedSamples(96, { I1: 8, I2: 10, R1: 100 });
    expect(new Set(samples.map((sample) => sample.index1 + sample.index2)).size).toBe(96);
    expect(samples.every((sample) => /^[ACGT]{8}$/.test(sample.index1) && /^[ACGT]{10}$/.test(sample.index2))).toBe(
      true,
    );
  });
});
