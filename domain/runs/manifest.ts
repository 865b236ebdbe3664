import { FileFormatError } from '../errors.js';

/** A row of `[Settings]`: `lanes` are the lanes that it holds for, both where the row names none. */
export interface ManifestSetting {
  name: string;
  value: string;
  lanes: number[];
  /** Where the row is, from 1, and where its value begins. */
  line: number;
  column: number;
}

/** A row of `[Samples]`. A sample may have several rows (PhiX has four index pairs). */
export interface ManifestSample {
  name: string;
  index1: string;
  index2: string;
  lanes: number[];
  project?: string;
  externalId?: string;
  /** Columns that Bases2Fastq passes through, by their heading. */
  custom: Record<string, string>;
  /** 1-based line of the file. */
  line: number;
  /** Where each cell begins in it, 1-based, by the heading in lower case. */
  columns: Record<string, number>;
}

/** `RunManifest.csv`, the sample sheet of an AVITI run. */
export interface RunManifest {
  runValues: Record<string, string>;
  settings: ManifestSetting[];
  samples: ManifestSample[];
  /** Headings of the sections in their lower case, with the line that they stand in. */
  headings: Partial<Record<'runvalues' | 'settings' | 'samples', { names: string[]; line: number }>>;
}

const FILE = 'RunManifest.csv';
const MAX_LINE_LENGTH = 2048;
const KNOWN_HEADINGS = [
  'keyname',
  'value',
  'settingname',
  'samplename',
  'index1',
  'index2',
  'lane',
  'project',
  'externalid',
];

/** A cell of a line of CSV. */
export interface Cell {
  text: string;
  /** Where it begins in the line, from 1. */
  column: number;
}

/**
 * Splits one line at its commas; quotes protect commas, a doubled quote inside quotes is a quote.
 * @throws FileFormatError for a quote that is not closed.
 */
export function splitLine(line: string, lineNumber: number, file = FILE): Cell[] {
  const cells: Cell[] = [];
  let cell = '';
  let quoted = false;
  let opened = 0;
  let begins = 0;
  const end = (at: number): void => {
    const before = line.slice(begins, at);
    cells.push({ text: cell.trim(), column: begins + 1 + (before.length - before.trimStart().length) });
    cell = '';
    begins = at + 1;
  };
  for (let i = 0; i < line.length; i++) {
    const char = line[i]!;
    if (quoted) {
      if (char !== '"') cell += char;
      else if (line[i + 1] === '"') {
        cell += '"';
        i++;
      } else quoted = false;
    } else if (char === '"' && cell.trim() === '') {
      cell = '';
      quoted = true;
      opened = i;
    } else if (char === ',') end(i);
    else cell += char;
  }
  if (quoted) throw new FileFormatError(file, 'a quote is opened and not closed', lineNumber, opened + 1);
  end(line.length);
  return cells;
}

function parseLanes(value: string | undefined, line: number, column: number | undefined): number[] {
  const trimmed = (value ?? '').replace(/\s/g, '');
  if (trimmed === '' || trimmed === '1+2' || trimmed === '2+1') return [1, 2];
  if (trimmed === '1' || trimmed === '2') return [Number(trimmed)];
  throw new FileFormatError(FILE, `Lane is ${JSON.stringify(value)}; it must be 1, 2 or 1+2`, line, column);
}

/**
 * Parses `RunManifest.csv`: blank lines and `#` lines are skipped, headings and section names are case-insensitive,
 * trailing commas are ignored. A default manifest has a sample without indexes (`DefaultSample`).
 * Source of the rules: Element's Run Manifest documentation, as collected in docs/facts.
 * @throws FileFormatError with the line where it cannot be read.
 */
export function parseRunManifest(content: string): RunManifest {
  const manifest: RunManifest = { runValues: {}, settings: [], samples: [], headings: {} };
  let section: 'runvalues' | 'settings' | 'samples' | undefined;
  let headings: string[] | undefined;
  let originalHeadings: string[] = [];
  content
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\n|\r/)
    .forEach((raw, index) => {
      const line = index + 1;
      if (raw.length > MAX_LINE_LENGTH)
        throw new FileFormatError(
          FILE,
          `the line has ${raw.length} characters; at most ${MAX_LINE_LENGTH} are allowed`,
          line,
          MAX_LINE_LENGTH + 1,
        );
      const trimmed = raw.trim();
      if (trimmed === '' || trimmed.startsWith('#') || /^,+$/.test(trimmed.replace(/\s/g, ''))) return;
      const cells = splitLine(raw, line);
      const sectionName = /^\[(.+)\]$/.exec(cells[0]?.text ?? '')?.[1];
      if (sectionName !== undefined) {
        const name = sectionName.trim().toLowerCase();
        headings = undefined;
        if (name !== 'runvalues' && name !== 'settings' && name !== 'samples') {
          throw new FileFormatError(
            FILE,
            `section [${sectionName}] is not known; sections are [RunValues], [Settings] and [Samples]`,
            line,
            cells[0]!.column,
          );
        }
        section = name;
        return;
      }
      if (section === undefined) throw new FileFormatError(FILE, 'there is a row before the first section', line, 1);
      if (headings === undefined) {
        originalHeadings = cells.map((cell) => cell.text);
        headings = originalHeadings.map((heading) => heading.toLowerCase());
        // Columns of one's own may well stand twice; of those that Bases2Fastq reads it would not be known which counts.
        const twice = headings.findIndex(
          (heading, at) => KNOWN_HEADINGS.includes(heading) && headings!.indexOf(heading) < at,
        );
        if (twice >= 0)
          throw new FileFormatError(
            FILE,
            `the heading ${originalHeadings[twice]} stands twice in [${section}]`,
            line,
            cells[twice]!.column,
          );
        manifest.headings[section] = { names: headings, line };
        const needed =
          section === 'runvalues'
            ? ['keyname', 'value']
            : section === 'settings'
              ? ['settingname', 'value']
              : ['samplename'];
        for (const name of needed) {
          if (!headings.includes(name))
            throw new FileFormatError(FILE, `the headings of [${section}] lack ${name}`, line, 1);
        }
        return;
      }
      const known = headings;
      const cell = (name: string): string | undefined => {
        const at = known.indexOf(name);
        const value = at < 0 ? undefined : cells[at]?.text;
        return value === '' ? undefined : value;
      };
      const column = (name: string): number | undefined => cells[known.indexOf(name)]?.column;
      if (section === 'runvalues') {
        const key = cell('keyname');
        if (key !== undefined) manifest.runValues[key] = cell('value') ?? '';
      } else if (section === 'settings') {
        const name = cell('settingname');
        if (name === undefined) throw new FileFormatError(FILE, 'SettingName is empty', line, column('settingname'));
        manifest.settings.push({
          name,
          value: cell('value') ?? '',
          lanes: parseLanes(cell('lane'), line, column('lane')),
          line,
          column: column('value') ?? 1,
        });
      } else {
        const name = cell('samplename');
        if (name === undefined) throw new FileFormatError(FILE, 'SampleName is empty', line, column('samplename'));
        const custom: Record<string, string> = {};
        known.forEach((heading, at) => {
          if (heading === '' || ['samplename', 'index1', 'index2', 'lane', 'project', 'externalid'].includes(heading))
            return;
          custom[originalHeadings[at]!] = cells[at]?.text ?? '';
        });
        manifest.samples.push({
          name,
          index1: (cell('index1') ?? '').toUpperCase(),
          index2: (cell('index2') ?? '').toUpperCase(),
          lanes: parseLanes(cell('lane'), line, column('lane')),
          project: cell('project'),
          externalId: cell('externalid'),
          custom,
          line,
          columns: Object.fromEntries(
            known.flatMap((heading, at) =>
              heading === '' || cells[at] === undefined ? [] : [[heading, cells[at].column]],
            ),
          ),
        });
      }
    });
  return manifest;
}
