import { expect, it } from 'vitest';
import { findPathWarnings } from '../../domain/runs/pathWarnings.js';

const warn = (runFolder: string, prefix = 'runs', parentPath = 'AV1') =>
  findPathWarnings({ prefix, parentPath, runFolder });

it.each(['20260115_AV1_RUN-01.b', '20260115_AV1_x=1', '20260115_AV1_a,b', '20260115_AV1_user@lab', '20260115_AV1_1:2'])(
  'says nothing about %s',
  (runFolder) => {
    expect(warn(runFolder)).toEqual([]);
    expect(warn(runFolder, '')).toEqual([]);
  },
);

it.each([
  ['20260115_AV1_My run 01', 'contains a space. '],
  ['20260115_AV1_René 2x150 (test)', 'contains é, a space, (, ). '],
  ['20260115_AV1_PLUS+50%25', 'contains +, %. '],
  ['20260115_AV1_a[1]{b}', 'contains [, ], {, }. '],
  ['20260115_AV1_a*b?', 'contains *, ?. '],
  ['20260115_AV1_"a"\'b\'$c`d`', 'contains ", \', $, `. '],
  ['20260115_AV1_a&b;c|d<e>f#g~h^i\\j', 'contains &, ;, |, <, >, #, ~, ^, \\. '],
  ['20260115_AV1_a\u00a0b\u200bc\td', 'contains U+00A0, U+200B, U+0009. '],
  ['20260115_AV1_e\u0301', 'contains U+0301. '],
  ['20260115_AV1_📁', 'contains 📁. '],
])('warns once about %s', (runFolder, says) => {
  const warnings = warn(runFolder);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatchObject({ code: 'RUN_PATH_CHARACTERS', message: expect.stringContaining(says) as string });
});

it('also looks at the prefix and the folders between', () => {
  expect(warn('20260115_AV1_RUN', 'our runs')).toHaveLength(1);
  expect(warn('20260115_AV1_RUN', 'runs', 'lab (2)/AV1')).toHaveLength(1);
});

it('names at most ten characters', () => {
  expect(warn('äöüßéèêëàáâ')[0]!.message).toContain('ä, ö, ü, ß, é, è, ê, ë, à, á, …. ');
});
