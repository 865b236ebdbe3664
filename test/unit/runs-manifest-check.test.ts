import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkRunManifest, describeFindings, type ManifestedRun } from '../../domain/runs/manifestCheck.js';
import { parseRunParameters } from '../../domain/runs/runParameters.js';
import { findManifestOverrides } from '../../domain/runs/manifestOverrides.js';
import { findBases2FastqVersion, describeVersionConflict } from '../../domain/executions/versionGate.js';

const run: ManifestedRun = { cycles: { I1: 8, I2: 8, R1: 151, R2: 151 }, analysisLanes: '1+2' };
const samples = (...rows: string[]): string =>
  ['[Samples]', 'SampleName,Index1,Index2,Lane,Project', ...rows].join('\n');
const [a, c, g] = ['AAAAAAAA', 'CCCCCCCC', 'GGGGGGGG'];
const rules = (content: string | Uint8Array, of = run): { errors: string[]; warnings: string[] } => {
  const { errors, warnings } = checkRunManifest(content, of);
  const place = ({ rule, line, column }: { rule: string; line?: number; column?: number }): string =>
    `${rule}@${line}:${column}`;
  return { errors: errors.map(place), warnings: warnings.map(place) };
};

describe('checkRunManifest', () => {
  it('blocks nothing because of rows of a lane that the run does not analyse', () => {
    const of = { ...run, analysisLanes: '1' };
    const found = (...rows: string[]): string[] => rules(samples(...rows), of).errors;
    expect(found(`S1,${a},${a},1`, 'S2,AC-TACGT,TTTTTTTT,2')).toEqual([]);
    expect(found(`S1,${a},${a},1,P`, `S1,${a},${a},2,Q`)).toEqual([]);
    expect(found(`S1,${a},${a},2,P`, `S1,${a},${a},1,Q`)).toEqual([]);
    expect(found(`S1,${a},${a},1`, 'S2,AC-TACGT,TTTTTTTT,1+2')).toEqual(['index-characters@4:4']);
  });
  const good: [string, string][] = [
    [
      'a sample with several indexes, trailing commas, comments, quotes, lower case, CRLF and a byte order mark',
      `\uFEFF# made by hand,,\n${samples(
        `"PhiX",${a},${a},,,`,
        `PhiX,${c},${c},1+2`,
        `S1,${g.toLowerCase()},TTTTTTTT,"1"`,
      )}`.replaceAll('\n', '\r\n'),
    ],
    ['the same index in different lanes', samples(`S1,${a},${a},1`, `S2,${a},${a},2`)],
    [
      'shorter indexes under a mask',
      '[Settings]\nSettingName,Value,Lane\nI1Mask,I1:Y6N*,1\nI1Mask,I1:N2Y6,2\n' +
        samples(`S1,AAAAAA,${a}`, `S2,CCCCCC,${c}`),
    ],
    ['unknown bases', samples(`S1,AAAAAAAA,NNNNNNNN`, `S2,CCCCCCCC,NNNNNNNN`)],
    ['several sequences in one cell', samples(`S1,${a}+${c},${a}+${c}`, `S2,${g},${g}`)],
    [
      "the headings of the vendor's template for run values",
      `[RunValues]\nKeyName, Values\nOperator, x\n${samples(`S1,${a},${a}`)}`,
    ],
    ['run values without headings that polony knows', `[RunValues]\nA,A\nOperator, x\n${samples(`S1,${a},${a}`)}`],
    [
      'masks that do not name their read, or name several',
      '[Settings]\nSettingName,Value\nI1Mask,Y6N*\nI2Mask,I2:N2Y*-R2:N*\nUmiMask,R1:Y4N*-R2:Y4N*\n' +
        samples('S1,AAAAAA,AAAAAA', 'S2,CCCCCC,CCCCCC'),
    ],
    ['custom columns with the same name', `[Samples]\nSampleName,Index1,Index2,Note,note\nS1,${a},${a},x,y`],
    [
      'adapters given twice',
      `[Settings]\nSettingName,Value\nR1Adapter,ACGT\nR1Adapter,TTTT\n${samples(`S1,${a},${a}`)}`,
    ],
  ];
  it.each(good)('finds no problem in %s', (_what, content) => {
    expect(rules(content)).toEqual({ errors: [], warnings: [] });
  });

  const bad: [string, string | Uint8Array, string[]][] = [
    ['a lane that does not exist', samples(`S1,${a},${a},3`), ['format@3:22']],
    ['a quote that is not closed', samples(`S1,"${a},${a}`), ['format@3:4']],
    ['a line that is too long', samples(`S1,${a},${a},1,${'x'.repeat(2048)}`), ['format@3:2049']],
    ['an unknown section', `[Header]\nA,B`, ['format@1:1']],
    ['a row before the first section', `SampleName\nS1`, ['format@1:1']],
    ['headings without SampleName', `[Samples]\nName,Index1\nS1,${a}`, ['format@2:1']],
    ['a repeated heading', `[Samples]\nSampleName,Index1,index1\nS1,${a},${a}`, ['format@2:19']],
    ['a sample without a name', samples(`,${a},${a}`), ['format@3:1']],
    ['semicolons', `[Samples];;;\nSampleName;Index1\nS1;${a}`, ['format@1:1']],
    ['tabs', `[Samples]\nSampleName\tIndex1\nS1\t${a}`, ['format@2:1']],
    ['an Excel workbook', Buffer.from('PK\u0003\u0004\u00ff\u00fe', 'latin1'), ['format@1:1']],
    ['line ends that are carriage returns only', samples(`S1,${a},${a}`).replaceAll('\n', '\r'), ['format@1:10']],
    ['a sample sheet of Illumina', `[Header]\nFileFormatVersion,2`, ['format@1:1']],
    ['Latin-1', Buffer.from(samples(`S1,${a},${a}`, `M\u00fcller,${c},${c}`), 'latin1'), ['format@4:2']],
    ['UTF-16', Buffer.from(`\uFEFF${samples(`S1,${a},${a}`)}`, 'utf16le'), ['format@1:1']],
    ['indexes that are too long', samples(`S1,AAAAAAAAAA,${a}`, `S2,CCCCCCCCCC,${c}`), ['index-length@3:4']],
    ['one sequence of a cell that is too long', samples(`S1,${a}+AAAA,${a}`), ['index-length@3:4']],
    [
      'a mask without a read that leaves too few cycles',
      `[Settings]\nSettingName,Value\nI1Mask,Y2N*\n${samples(`S1,${a},${a}`)}`,
      ['index-length@6:4'],
    ],
    [
      'a mask of two reads that leaves too many cycles',
      `[Settings]\nSettingName,Value\nI1Mask,I1:Y*-R1:Y4N*\n${samples(`S1,${a},${a}`)}`,
      ['index-length@6:4'],
    ],
    [
      'an index in a run without that read',
      `[Settings]\nSettingName,Value\nI2Mask,I2:N*\n${samples(`S1,${a},${a}`)}`,
      ['index-length@6:13'],
    ],
    ['an index that one of several samples lacks', samples(`S1,${a},${a}`, `S2,${c},`), ['index-missing@4:13']],
    ['semicolons before the first section', `;;;\n[Samples];;;\nSampleName;Index1;;`, ['format@2:1']],
    ['semicolons without a section', `SampleName;Index1\nS1;${a}`, ['format@1:1']],
    ['the instruction of a spreadsheet', `sep=;\n[Samples]\nSampleName;Index1`, ['format@1:1']],
    ['UTF-16 without a byte order mark', Buffer.from(samples(`S1,${a},${a}`), 'utf16le'), ['format@1:1']],
    ['an old Excel workbook', Buffer.from([0xd0, 0xcf, 0x11, 0xe0, 0xa1]), ['format@1:1']],
    ['gzip', Buffer.from([0x1f, 0x8b, 8, 0]), ['format@1:1']],
    ['some line ends that are carriage returns only', `${samples(`S1,${a},${a}`)}\rS2,${c},${c}\n`, ['format@3:21']],
    [
      'a hyphen between two indexes, once',
      samples(`S1,${a}-${a},`, `S2,${c}-${c},`),
      ['index-characters@3:4', 'index-characters@4:4'],
    ],
    [
      'one wrong length for samples that are listed for each lane',
      samples(`S1,AAAA,${a},1`, `S2,CCCC,${c},1`, `S1,AAAA,${a},2`, `S2,CCCC,${c},2`),
      ['index-length@3:4'],
    ],
    ['letters that are not bases', samples(`S1,AAAAXAAA,${a}`), ['index-characters@3:4']],
    ['two samples with the same index', samples(`S1,${a},${a},1`, `S2,${a},${a},1+2`), ['index-twice@4:4']],
    ['a sample without an index among samples with one', samples(`S1,${a},${a},1`, `S2,,,1`), ['index-missing@4:4']],
    ['one sample name in two projects', samples(`S1,${a},${a},1,P1`, `S1,${c},${c},1,P2`), ['project-collision@4:1']],
  ];
  it.each(bad)('reports as an error, with line and column, %s', (_what, content, errors) => {
    expect(rules(content).errors).toEqual(errors);
    expect(describeFindings(checkRunManifest(content, run).errors)).toMatch(/^line \d+ column \d+: ./);
  });

  const doubtful: [string, string, string[], ManifestedRun?][] = [
    ['projects, which --no-projects ignores', samples(`S1,${a},${a},1,P1`), ['projects-ignored@2:undefined']],
    ['names that differ in case', samples(`s1,${a},${a}`, `S1,${c},${c}`), ['name-case@4:1']],
    ['a name with a slash', samples(`a/b,${a},${a},1`), ['sample-name@3:1']],
    ['a name with a space', samples(`S 1,${a},${a}`), ['sample-name@3:1']],
    ['a name with a dot', samples(`S.1,${a},${a}`), ['sample-name@3:1']],
    ['a name of more than 64 characters', samples(`${'S'.repeat(65)},${a},${a}`), ['sample-name@3:1']],
    ['headings of another instrument', `[Samples]\nSampleName,index,index2\nS1,${a},${a}`, ['heading@2:undefined']],
    [
      'a default manifest of a run with index reads',
      '[RunValues]\nKeyName, Value\n\n[Settings]\nSettingName, Value\n\n' +
        '[Samples]\nSampleName,Index1,Index2\nDefaultSample,,\n',
      ['no-index@undefined:undefined'],
    ],
    ['a manifest without samples', '[Settings]\nSettingName,Value\n', ['no-index@undefined:undefined']],
    ['an empty file', '', ['no-index@undefined:undefined']],
    [
      'a mask that is longer than the read',
      `[Settings]\nSettingName,Value\nI1Mask,I1:Y10\n${samples(`S1,${a},${a},1`)}`,
      ['mask-length@3:8'],
    ],
    ['an index that no sample has', samples(`S1,${a},`, `S2,${c},`), ['index-unused@undefined:undefined']],
    ['spaces around +', samples(`S1,${a} + ${c},${a}`), ['index-spaces@3:4']],
    ['a quoted cell with a line break', samples(`S1,${a},${a},1,"one`, 'two"'), ['not-checked@3:undefined']],
    [
      'a column of lanes that Bases2Fastq does not read, and of the masks in it',
      `[Settings]\nSettingName,Value,Lanes\nI1Mask,I1:Y2N*,2\n${samples(`S1,${a},${a}`)}`,
      ['heading@2:undefined'],
    ],
    [
      'masks that contradict each other, and of no length',
      `[Settings]\nSettingName,Value,Lane\nI1Mask,I1:Y2N*,\nI1Mask,I1:Y3N*,2\n${samples(`S1,AA,${a}`)}`,
      ['setting-twice@4:8'],
    ],
    [
      'a control in two projects',
      samples(`PhiX_1,${a},${a},1,P1`, `PhiX_1,${c},${c},1,P2`),
      ['projects-ignored@2:undefined', 'project-collision@4:1'],
    ],
    [
      'a mask that is none',
      `[Settings]\nSettingName,Value\nI1Mask,first eight\n${samples(`S1,${a},${a}`)}`,
      ['mask@3:8'],
    ],
    [
      'an unknown setting',
      `[Settings]\nSettingName,Value\nI1Maks,I1:Y8\n${samples(`S1,${a},${a}`)}`,
      ['unknown-setting@3:8'],
    ],
    [
      'a setting that contradicts itself',
      `[Settings]\nSettingName,Value,Lane\nI1FastQ,True,\nI1FastQ,False,2\n${samples(`S1,${a},${a}`)}`,
      ['setting-twice@4:9'],
    ],
    ['indexes that differ in one base only', samples(`S1,${a},${a},1`, `S2,AAAAAAAC,${a},1`), ['index-near@4:4']],
    ['a repeated row', samples(`S1,${a},${a},1`, `S1,${a},${a},1`), ['row-twice@4:1']],
    [
      'a lane that the run does not analyse',
      samples(`S1,${a},${a},1`, `S2,${c},${c},2`),
      ['lane-not-run@4:22'],
      { ...run, analysisLanes: '1' },
    ],
  ];
  it.each(doubtful)('warns of %s', (_what, content, warnings, of) => {
    expect(rules(content, of)).toEqual({ errors: [], warnings });
  });

  it('finds nothing in a default manifest of a run without index reads, or whose masks leave none', () => {
    const content = '[Samples]\nSampleName,Index1,Index2\nDefaultSample,,\n';
    expect(rules(content, { cycles: { R1: 151 } })).toEqual({ errors: [], warnings: [] });
    const masked = `[Settings]\nSettingName,Value\nI1Mask,N*\nI2Mask,N*\n${content}`;
    expect(rules(masked)).toEqual({ errors: [], warnings: [] });
  });

  it.each<[string, Record<string, unknown>, string[]]>([
    ['a setting', { settings: 'I1Mask,I1:Y6N*' }, []],
    ['several settings', { b2f_settings: ['I1Mask,Y2N*,2', '"I1Mask,Y6N*,1+2"'] }, []],
    ['settings in lines', { settings: 'SpikeInAsUnassigned,true\nI1Mask,Y6N*' }, []],
    ['a number of cycles', { i1_cycles: 6 }, []],
    ['arguments that polony cannot interpret', { extra_args: '--settings I1Mask,Y6N*' }, []],
    ['settings that polony cannot interpret', { settings: { I1Mask: 'Y6N*' } }, []],
    ['a setting that does not fit either', { settings: 'I1Mask,Y5N*' }, ['index-length@3:4']],
    ['a setting of another lane', { settings: 'I1Mask,Y6N*,1' }, ['index-length@3:4']],
    ['other parameters', { num_unassigned: 5, note: 'I1Mask,Y6N*' }, ['index-length@3:4']],
  ])('takes into account %s in the parameters', (_what, parameters, errors) => {
    const content = samples(`S1,AAAAAA,${a}`, `S2,CCCCCC,${c}`);
    expect(rules(content, { ...run, parameters })).toEqual({ errors, warnings: [] });
  });

  it('names the delimiter, and the heading that another instrument uses', () => {
    const messageOf = (content: string): string => checkRunManifest(content, run).errors[0]!.message;
    expect(messageOf('[Samples];;\nSampleName;Index1')).toContain('separated by semicolons (;), but must be');
    expect(messageOf('[Samples]\nSampleName\tIndex1')).toContain('separated by tabs, but must be');
    expect(messageOf('[Samples]\nSample_ID,Index1')).toContain('no heading SampleName. Rename Sample_ID to SampleName');
    expect(messageOf('[Data]\nSample_ID')).toContain('sample sheet of Illumina');
  });

  it('takes no longer for many samples with the same problem than their number', () => {
    // Comparing each with each other one would take minutes.
    const rows = Array.from({ length: 20_000 }, (_, at) => `S${at},AAAAAAA,${a}`);
    expect(checkRunManifest(samples(...rows), run).errors[0]!.rule).toBe('index-length');
  });

  it('skips the rules that need the cycles if these are unknown', () => {
    expect(rules(samples('S1,AAA,CCC'), {})).toEqual({ errors: [], warnings: [] });
  });
  it('takes numbers of cycles for unknown where there are none', () => {
    expect(rules(samples('S1,AAA,CCC'), { cycles: {} })).toEqual({ errors: [], warnings: [] });
  });
  it.each<[string, object]>([
    ['settings under another name', { 'wf.settings': 'I1Mask,I1:Y3N*' }],
    ['a mask', { I1Mask: 'I1:Y3N*' }],
    ['cycles under another name', { num_i1_cycles: 3 }],
    ['cycles that are no number', { i1_cycles: 'three' }],
    ['settings in another member', { args: { b2f: '--settings I1Mask,I1:Y3N*' } }],
    ['settings of which one is no text', { settings: [{ I1Mask: 'I1:Y3N*' }, 'R1AdapterTrim,True'] }],
    ['a mask in another text', { more: 'I1:Y3N*' }],
  ])('skips the rules that depend on %s in a parameter', (_what, parameters) => {
    expect(rules(samples('S1,AAA,CCC'), { ...run, parameters: parameters as Record<string, unknown> })).toEqual({
      errors: [],
      warnings: [],
    });
  });
  it.each<[object, string?]>([
    [{ b2f_args: '--run-manifest s3://x' }],
    [{ b2f_args: '-r s3://x' }],
    [{ b2f_args: '-r=s3://x' }],
    [{ manifest: 's3://x' }],
    [{ sheet: 's3://x' }, 'sheet'],
  ])('finds that the parameters %o replace the manifest', (parameters, manifestParameter) => {
    expect(findManifestOverrides(parameters as Record<string, unknown>, manifestParameter).replaceManifest).toBe(true);
  });
  it('reads a comment that a spreadsheet quoted, or that is long', () => {
    const comments = `"# one, two",,,\n# ${'x'.repeat(3000)}\n`;
    expect(rules(`${comments}${samples(`S1,${a},${a}`)}`)).toEqual({ errors: [], warnings: [] });
  });
  it('says which column to rename where samples have no index', () => {
    const content = `[Samples]\nSampleName,I7,i5\nS1,${a},${a}\nS2,${c},${c}`;
    expect(checkRunManifest(content, run).errors[0]!.message).toContain('rename the column I7 to Index1');
  });
  it('reports rows with another delimiter once, and not as samples without an index', () => {
    for (const delimiter of [';', '\t', '|'])
      expect(rules(samples(`S1,${a},${a}`, ...[c, g].map((index) => ['S2', index, index].join(delimiter))))).toEqual({
        errors: ['delimiter@4:1'],
        warnings: [],
      });
    expect(rules(samples('a;b'), { cycles: { R1: 151 } }).errors).toEqual([]);
    // One sample without an index gets all reads.
    expect(rules(samples(`S1;${a};${a}`)).errors).toEqual([]);
  });

  it.each<[string, string, RegExp]>([
    ['spaces', '[Samples]\nSampleName   Index1\nS1 ACGT', /separated by spaces/],
    ['colons', '[Samples]\nSampleName:Index1', /separated by ":"/],
    ['commas of another script', '[Samples]\nSampleName\uff0cIndex1', /U\+FF0C/],
    ['semicolons below a comma', '[Samples]\nSampleName;Index1;"Note, long"', /separated by semicolons/],
    ['quotes around whole lines', '[Samples]\n"SampleName,Index1"\n"S1,ACGT"', /whole line is in quotes/],
    ['a section that is missing', 'SampleName,Index1\nS1,ACGT', /Add the line \[Samples\]/],
    ['a section that is not closed', '[Samples\nSampleName,Index1', /no closing bracket/],
    ['no headings', '[Samples]\nS1,ACGTACGT,ACGTACGT', /must have the headings of the columns/],
    ['a web page', '<!DOCTYPE html>\n<html>', /HTML/],
    ['JSON', '{"Samples": []}', /JSON/],
    ['rich text', '{\\rtf1 [Samples]}', /RTF/],
    [
      'an early sample sheet of Illumina',
      'FCID,Lane,SampleID,SampleRef,Index\nX,1,A,,ACGT',
      /sample sheet of Illumina/,
    ],
    ['other line ends', samples(`S1,${a},${a}`).replaceAll('\n', '\u2028'), /lines end with/],
    ['another text', 'Hello\n[Samples]', /before the first section/],
  ])('says what a file with %s is', (_what, content, message) => {
    expect(checkRunManifest(content, run).errors.map((finding) => finding.message)).toEqual([
      expect.stringMatching(message),
    ]);
  });

  it('takes NA for an index where an index may have two bases', () => {
    const masked = (mask: string): string => `[Settings]\nSettingName,Value\nI2Mask,${mask}\n${samples(`S1,${a},NA`)}`;
    expect(rules(masked('I2:Y2N*'))).toEqual({ errors: [], warnings: ['index-characters@6:13'] });
    expect(rules(masked('I2:Y*')).errors).toEqual(['index-characters@6:13']);
  });
  it.each<[string, string, RegExp]>([
    ['a word for no index', `${a},NA`, /Index2 of S1 is "NA".*Leave the cell empty/],
    ['a dash for no index', `${a},-`, /Leave the cell empty/],
    ['a name of an index', `UDP0001,${a}`, /not its name/],
    ['a name of a set of 10x Genomics', `SI-GA-A1,${a}`, /not its name/],
    ['two indexes with a slash', `${a}/${c},`, /into the column Index2/],
    ['two indexes with a semicolon', `${a};${c},`, /into the column Index2/],
    ['a character that looks like another', `\u0410CGTACGT,${a}`, /"\u0410" \(U\+0410\)/],
    ['an invisible character', `ACGT\u200bACGT,${a}`, /the character U\+200B/],
    ['a superfluous +', `${a}++${c},${a}`, /Remove the superfluous \+/],
    ['a + at the end', `${a}+,${a}`, /Remove the superfluous \+/],
  ])('names %s in an index, once', (_what, indexes, message) => {
    const { errors, warnings } = checkRunManifest(samples(`S1,${indexes}`), run);
    expect(errors.map((finding) => finding.message)).toEqual([expect.stringMatching(message)]);
    expect(warnings).toEqual([]);
  });

  it('says what + means where it seems to separate the two indexes', () => {
    const { warnings } = checkRunManifest(samples(`S1,${a}+${c},`, `S2,${g}+TTTTTTTT,`), run);
    expect(warnings[0]!.message).toContain('does not separate the two indexes');
  });

  it('blocks on an index that no mask can make possible, and warns of masks of any read that are too long', () => {
    const masked = (mask: string, index: string): string =>
      `[Settings]\nSettingName,Value\n${mask}\n${samples(`S1,${index},${a}`)}`;
    expect(rules(masked('I1Mask,I1:Y12', 'A'.repeat(12)))).toEqual({
      errors: ['index-length@6:4'],
      warnings: ['mask-length@3:8'],
    });
    expect(rules(masked('I1Mask,I1:Y12N*', a)).errors).toEqual([]);
    for (const mask of ['R1FastQMask,R1:Y152N*', 'UmiMask,R2:N150Y8', 'I2Mask,Y9'])
      expect(rules(masked(mask, a)).warnings).toContainEqual(expect.stringMatching(/^mask-length@3/));
    expect(rules(masked('R1FastQMask,Y151', a)).warnings).toEqual([]);
  });

  it.each([
    ['I1FastQ,yes', 'setting-value'],
    ['I1MismatchThreshold,3', 'setting-value'],
    ['R1Adapter,ACGX', 'setting-value'],
    ['R1AdapterMinimumStringency,90%', 'setting-value'],
    ['OverrideCycles,Y151;I8;I8;Y151', 'unknown-setting'],
    ['I1FastQ,T', undefined],
    ['I2MismatchThreshold,0', undefined],
    ['R1Adapter,ACGT+TTTT', undefined],
    ['R1AdapterMinimumStringency,0.9', undefined],
    ['R1AdapterMinimumTrimmedLength,16', undefined],
  ])('judges the setting %s, in the manifest and in a parameter', (setting, rule) => {
    const content = samples(`S1,${a},${a}`);
    const found = [
      checkRunManifest(`[Settings]\nSettingName,Value\n${setting}\n${content}`, run),
      checkRunManifest(content, { ...run, parameters: { b2f_settings: [setting.split(';')[0]!] } }),
    ];
    for (const { errors, warnings } of found) {
      expect(errors).toEqual([]);
      expect(warnings.map((finding) => finding.rule)).toEqual(rule === undefined ? [] : [rule]);
    }
  });

  it('names the setting of Bases2Fastq that does what one of Illumina does', () => {
    const content = `[Settings]\nSettingName,Value\nBarcodeMismatchesIndex2,0\n${samples(`S1,${a},${a}`)}`;
    expect(checkRunManifest(content, run).warnings[0]!.message).toContain('I2MismatchThreshold');
  });

  it('warns of a mask in a parameter that is none', () => {
    const { warnings } = checkRunManifest(samples(`S1,${a},${a}`), {
      ...run,
      parameters: { settings: 'I1Mask,first eight' },
    });
    expect(warnings.map(({ rule, message }) => [rule, message])).toEqual([
      ['mask', expect.stringContaining('I1Mask (in the parameters)')],
    ]);
  });

  it.each<[string, Record<string, unknown>]>([
    ['arguments with another setting', { b2f_args: "--settings 'R1AdapterTrim,true' --num-unassigned 500" }],
    ['arguments with a filter mask', { b2f_args: '--filter-mask R1:Y15N*-R2:Y15N*' }],
    ['a filter mask', { b2f_filter_mask: 'R1:Y15N*-R2:Y15N*' }],
    ['a mask of cytoprofiling', { b2f_cyto_fastq_mask: 'R1:Y15N*' }],
    ['arguments with a mask that does not fit', { b2f_args: '--settings=I1Mask,Y5N* --i2-cycles 8' }],
  ])('still checks indexes where parameters have %s', (_what, parameters) => {
    expect(rules(samples(`S1,AAAAAA,${a}`), { ...run, parameters }).errors).toEqual(['index-length@3:4']);
  });

  it('takes into account settings and cycles in arguments', () => {
    const parameters = { b2f_args: `--settings "I1Mask,I1:Y6N*" --i2-cycles=7 --log-level DEBUG` };
    expect(rules(samples('S1,AAAAAA,CCCCCCC'), { ...run, parameters })).toEqual({ errors: [], warnings: [] });
  });

  const tolerated: [string, string, string[]][] = [
    ['a section of notes', `[Notes]\nany;thing,"open\n${samples(`S1,${a},${a}`)}`, ['section@1:undefined']],
    ['a section of Illumina beside samples', `[Reads]\n151\n${samples(`S1,${a},${a}`)}`, ['section@1:undefined']],
    [
      'line ends of two carriage returns',
      samples(`S1,${a},${a}`).replaceAll('\n', '\r\r\n'),
      ['line-ends@1:undefined'],
    ],
    ['a text with a comma', samples(`S1,${a},${a},1,,see plate, row 2`), ['extra-cell@3:25']],
    ['the name of the folder without a sample', samples(`Unassigned,${a},${a}`), ['sample-name@3:1']],
    [
      'a project with a space, once',
      samples(`S1,${a},${a},1,My Project`, `S2,${c},${c},1,My Project`),
      ['projects-ignored@2:undefined', 'identifier@3:24'],
    ],
    ['a quoted name that begins with #', samples(`"#1",${a},${a}`), ['sample-name@3:1']],
    ['a lane without indexes beside one', samples('S1,,,1', `S2,${a},${a},2`), ['no-index@3:undefined']],
    [
      'headings of a list of primers',
      `[Samples]\nSampleName,i7 index sequence,P5\nS1,${a},${a}`,
      ['heading@2:undefined', 'heading@2:undefined', 'no-index@undefined:undefined'],
    ],
  ];
  it.each(tolerated)('warns of %s, which Bases2Fastq may accept', (_what, content, warnings) => {
    expect(rules(content)).toEqual({ errors: [], warnings });
  });

  it('says that indexes in one cell and another are equal', () => {
    const { warnings } = checkRunManifest(samples(`S1,${a}+${c},${g}`, `S2,${c},${g}`), run);
    expect(warnings.map(({ message }) => message)).toEqual([expect.stringContaining('have the same sequence')]);
  });
  it('takes a custom column for what it is', () => {
    const content = `[Samples]\nSampleName,Index1,Index2,settings,Values,I7_Index_ID\nS1,${a},${a},x,y,N701`;
    expect(rules(content)).toEqual({ errors: [], warnings: [] });
  });
  it('does not advise a mask where none can help', () => {
    const messages = checkRunManifest(samples(`S1,${a}AAAA,${a}`), run).errors.map(({ message }) => message);
    expect(messages.join()).not.toContain('I1Mask');
  });
  it('lists 100 findings and counts the rest', () => {
    const { errors, more } = checkRunManifest(
      samples(...Array.from({ length: 500 }, (_, at) => `S${at},AXAAAAAA,${a},1`)),
      run,
    );
    expect(errors).toHaveLength(100);
    expect(more).toBeGreaterThan(400);
  });

  const cases = path.resolve(import.meta.dirname, '../../../shared/cases');
  it.skipIf(!existsSync(cases)).each<[string, string[], string[]]>([
    ['03-composite-index/manifest.csv', [], []],
    ['05-vendor-heading-values/manifest.csv', [], []],
    ['08-mask-without-read/manifest.csv', ['index-length'], []],
    ['08-mask-without-read/good.csv', [], []],
    ['18-excel-delimiters/semicolon.csv', ['format'], []],
    ['18-excel-delimiters/tab.csv', ['format'], []],
    ['20-illumina-headings/manifest.csv', [], ['heading']],
    ['21-sample-names/manifest.csv', [], ['sample-name', 'sample-name']],
    ['22-default-manifest-indexed-run/manifest.csv', [], ['no-index']],
    ['22-default-manifest-indexed-run/empty.csv', [], ['no-index']],
    ['24-babraham-shape/manifest.csv', [], []],
  ])('judges the public case %s', (file, errors, warnings) => {
    const of = { cycles: { R1: 2, R2: 2, I1: 4, I2: 4 }, analysisLanes: '1+2' };
    const report = checkRunManifest(readFileSync(path.join(cases, file)), of);
    expect([report.errors.map(({ rule }) => rule), report.warnings.map(({ rule }) => rule)]).toEqual([
      errors,
      warnings,
    ]);
  });

  const data = path.resolve(import.meta.dirname, '../../../shared/data');
  it.skipIf(!existsSync(data))(
    'finds PhiX indexes in a real manifest that are too long for the index reads of the run',
    () => {
      const content = readFileSync(path.join(data, 'instrument-runs/taca/RunManifest_lims.csv'));
      const { cycles } = parseRunParameters(
        readFileSync(path.join(data, 'instrument-runs/taca/RunParameters.json'), 'utf8'),
      );
      expect(rules(content, {}).errors).toEqual([]);
      const found = checkRunManifest(content, { cycles: { ...cycles, I1: 8, I2: 24 } });
      expect(new Set(found.errors.map((each) => each.rule))).toEqual(new Set(['index-length']));
      expect(found.errors[0]!.message).toContain('PhiX_Adept');
    },
  );
});

describe('the Bases2Fastq version gate', () => {
  it.each([
    ['3.4.0', '2.1.0', false],
    ['3.4.1.123', 'v2.1.9', false],
    ['4.0', '1.7.0', false],
    ['3.4.0', '2.2.0', true],
    ['3.3.9', '1.0.0', true],
    ['3.10.0', '2.10.0', true],
    [undefined, '1.0.0', true],
    ['3.4.0', undefined, true],
    ['three', 'two', true],
  ])('compares AVITI OS %s with Bases2Fastq %s: they fit: %s', (platform, version, fits) => {
    expect(describeVersionConflict(platform, version) === undefined).toBe(fits);
  });
  it('finds the Bases2Fastq version in the name of a workflow', () => {
    expect(findBases2FastqVersion('Bases2Fastq 2.2.0')).toBe('2.2.0');
    expect(findBases2FastqVersion(undefined, 'element-bases2fastq-v2.4')).toBe('2.4');
    expect(findBases2FastqVersion('workflow 3.1.0')).toBeUndefined();
  });
});
