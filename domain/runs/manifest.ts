import { FileFormatError } from '../errors.js';
import { describeCharacter } from './characters.js';
import { rejectWorkbook } from './manifestText.js';

/** A row of `[Settings]`. */
export interface ManifestSetting {
  name: string;
  value: string;
  /** The lanes that it applies to: both if the row names none. */
  lanes: number[];
  /** The line of the row, and the column where its value begins, from 1. */
  line: number;
  column: number;
}

/** A row of `[Samples]`. A sample may have several rows (PhiX has four index pairs). */
export interface ManifestSample {
  name: string;
  /** In capital letters. `+` joins several sequences, without the spaces that the file may have around it. */
  index1: string;
  index2: string;
  lanes: number[];
  project?: string;
  externalId?: string;
  /** Columns that Bases2Fastq passes through, by heading. */
  readonly custom: Record<string, string>;
  /** The line of the row, from 1. */
  line: number;
  /** The column where the cell below a heading in lower case begins, from 1; undefined where the row has no such cell. */
  columnOf(heading: string): number | undefined;
  /** The text below a heading in lower case, as in the file; undefined where there is none. */
  textOf(heading: string): string | undefined;
}

type Section = 'runvalues' | 'settings' | 'samples';

/** `RunManifest.csv`, the sample sheet of an AVITI run. */
export interface RunManifest {
  runValues: Record<string, string>;
  settings: ManifestSetting[];
  samples: ManifestSample[];
  /** Headings of each section, in lower case and as in the file, and their line. */
  headings: Partial<Record<Section, { names: string[]; original: string[]; line: number }>>;
  /** Sections that Bases2Fastq does not document. The parser skips their rows. */
  unknownSections: { name: string; line: number }[];
  /** The first cell below no heading, of each row that has any. */
  extraCells: { line: number; column: number; text: string }[];
  /** The first line that ends with more than one carriage return. */
  extraCarriageReturn: number | undefined;
}

/** A file that Bases2Fastq may read otherwise than polony, so that polony does not check it. Lines count from 1. */
export class UncheckableManifest extends Error {
  override readonly name = 'UncheckableManifest';
  constructor(
    message: string,
    readonly line: number,
  ) {
    super(message);
  }
}

const FILE = 'RunManifest.csv';
const MAX_LINE_LENGTH = 2048;
/** In so many later lines polony looks for the end of a quoted cell. */
const MOST_CELL_LINES = 20;
const SAMPLE_HEADINGS = ['samplename', 'index1', 'index2', 'lane', 'project', 'externalid'];
/** Headings that Bases2Fastq reads. */
const KNOWN_HEADINGS = ['keyname', 'value', 'settingname', ...SAMPLE_HEADINGS];
/** `[RunValues]` only annotates a run, and the vendor's own template has other headings there. */
const REQUIRED_HEADINGS: Record<Section, readonly string[]> = {
  runvalues: [],
  settings: ['settingname', 'value'],
  samples: ['samplename'],
};

/** Headings as Element writes them. */
export const HEADING_TITLES: Readonly<Record<string, string>> = {
  settingname: 'SettingName',
  value: 'Value',
  samplename: 'SampleName',
  index1: 'Index1',
  index2: 'Index2',
  lane: 'Lane',
  project: 'Project',
  externalid: 'ExternalID',
};
const SECTION_TITLES: Record<Section, string> = { runvalues: 'RunValues', settings: 'Settings', samples: 'Samples' };

/** Headings of other instruments and other spellings, by the heading that they probably mean. */
const MEANT_HEADINGS: readonly (readonly [string, RegExp])[] = [
  ['samplename', /^(sample|samples|sampleid|samplenames|name)$/],
  [
    'index1',
    /^(index|i1|i7|p7|indexi7|i7index|index1i7|index1sequence|indexsequence|i7(index)?seq(uence)?|barcode1?)$/,
  ],
  ['index2', /^(i2|i5|p5|indexi5|i5index|index2i5|index2sequence|i5(index)?seq(uence)?|barcode2)$/],
  ['lane', /^(lanes|laneid|lanenumber)$/],
  ['settingname', /^(setting|settings|name|settingsname)$/],
  ['value', /^(values|settingvalue)$/],
];

/** Headings that Bases2Fastq reads in a section. */
const SECTION_HEADINGS: Readonly<Record<'settings' | 'samples', readonly string[]>> = {
  settings: ['settingname', 'value', 'lane'],
  samples: SAMPLE_HEADINGS,
};

/** The heading of Bases2Fastq that an unknown heading of a section probably means, in lower case. */
export function findMeantHeading(section: 'settings' | 'samples', heading: string): string | undefined {
  const known = SECTION_HEADINGS[section];
  const plain = heading.toLowerCase().replace(/[^a-z0-9]/g, '');
  if (known.includes(heading.toLowerCase())) return undefined;
  // A known heading with other characters, such as Sample_Name or Index 1.
  if (known.includes(plain)) return plain;
  return MEANT_HEADINGS.find(([meant, pattern]) => known.includes(meant) && pattern.test(plain))?.[0];
}

/** What spreadsheets write instead of commas, and what to call it. */
const WRONG_DELIMITERS = [
  [';', 'semicolons (;)'],
  ['\t', 'tabs'],
  ['|', 'vertical bars (|)'],
] as const;
/** Sections of Illumina's sample sheets. */
const ILLUMINA_SECTIONS = ['header', 'reads', 'data', 'bclconvert_settings', 'bclconvert_data'];

/** A cell of a CSV line. */
export interface Cell {
  text: string;
  /** Where it begins in the line, from 1. */
  column: number;
}

/**
 * Splits a line at its commas. Quotes protect commas, and a doubled quote inside quotes is a quote.
 * @throws FileFormatError for a quote without a closing quote.
 */
export function splitLine(line: string, lineNumber: number, file = FILE): Cell[] {
  const cells: Cell[] = [];
  let cell = '';
  let isQuoted = false;
  let quoteStart = 0;
  let cellStart = 0;
  let isBlank = true;
  const endCell = (at: number): void => {
    const raw = line.slice(cellStart, at);
    cells.push({ text: cell.trim(), column: cellStart + 1 + (raw.length - raw.trimStart().length) });
    cell = '';
    cellStart = at + 1;
    isBlank = true;
  };
  for (let i = 0; i < line.length; i++) {
    const char = line[i]!;
    if (isQuoted) {
      if (char !== '"') cell += char;
      else if (line[i + 1] === '"') {
        cell += '"';
        i++;
      } else isQuoted = false;
    } else if (char === '"' && isBlank) {
      cell = '';
      isQuoted = true;
      isBlank = false;
      quoteStart = i;
    } else if (char === ',') endCell(i);
    else {
      cell += char;
      isBlank &&= char.trim() === '';
    }
  }
  if (isQuoted) throw new FileFormatError(file, 'the closing quote is missing', lineNumber, quoteStart + 1);
  endCell(line.length);
  return cells;
}

/** @throws FileFormatError for a file that is not lines of text as Bases2Fastq reads them. */
function rejectForeignFile(content: string): void {
  rejectWorkbook(content);
  if (content.includes('\0')) {
    const message = 'the file contains NUL characters, as UTF-16 ("Unicode text") does. Save it as UTF-8 (CSV UTF-8).';
    throw new FileFormatError(FILE, message, 1, 1);
  }
  const at = findLoneCarriageReturn(content);
  if (at === undefined) return;
  const message =
    'lines end with a carriage return only, which Bases2Fastq does not support. ' +
    'Save the file with the line ends LF or CRLF.';
  const before = content.slice(0, at);
  throw new FileFormatError(FILE, message, before.split('\n').length, at - before.lastIndexOf('\n'));
}

/** The first carriage return that ends no line with a line feed, outside quotes. */
function findLoneCarriageReturn(content: string): number | undefined {
  let isQuoted = false;
  for (let at = content.search(/[\r"]/); at >= 0 && at < content.length; at++) {
    const char = content[at];
    if (char === '"') isQuoted = !isQuoted;
    else if (char === '\r' && !isQuoted) {
      const start = at;
      while (content[at + 1] === '\r') at++;
      if (content[at + 1] !== '\n') return start;
    }
  }
  return undefined;
}

/** The delimiter of a line that is not separated by commas; undefined where it looks as it should. */
function findWrongDelimiter(text: string): string | undefined {
  if (text.includes(',')) return undefined;
  return WRONG_DELIMITERS.find(([delimiter]) => text.includes(delimiter))?.[1];
}

/** Headings that begin a line, before whatever separates them from the next heading. */
const FIRST_HEADINGS = /^"?(?:samplename|settingname|keyname|sample_?id|sample_?name)"?( *)([^\w\s,"]|[\t ])/i;

/** The delimiter of headings that another one than a comma separates, although a comma may be in the line. */
function findHeadingDelimiter(cell: string): string | undefined {
  const match = FIRST_HEADINGS.exec(cell);
  if (match === null) return undefined;
  const delimiter = match[1] === '' || match[2] !== ' ' ? match[2]! : ' ';
  const known = WRONG_DELIMITERS.find(([text]) => text === delimiter)?.[1];
  return known ?? (delimiter === ' ' ? 'spaces' : describeCharacter(delimiter));
}

/**
 * Parses `RunManifest.csv`. Blank lines and `#` lines are skipped, headings and section names ignore case, and trailing
 * commas are ignored. A default manifest has one sample without indexes (`DefaultSample`).
 * Source of the rules: Element's Run Manifest documentation.
 * @throws FileFormatError with the line that it cannot parse.
 */
export function parseRunManifest(content: string): RunManifest {
  rejectForeignFile(content);
  const lines = content.replace(/^\uFEFF/, '').split(/\r*\n/);
  const parser = new ManifestParser(lines);
  lines.forEach((text, index) => parser.parseLine(text, index + 1));
  const extra = content.indexOf('\r\r\n');
  if (extra >= 0) parser.manifest.extraCarriageReturn = content.slice(0, extra).split('\n').length;
  return parser.manifest;
}

class ManifestParser {
  readonly manifest: RunManifest = {
    runValues: {},
    settings: [],
    samples: [],
    headings: {},
    unknownSections: [],
    extraCells: [],
    extraCarriageReturn: undefined,
  };
  private section: Section | 'unknown' | undefined;
  /** The headings of the section, once the parser has seen them. */
  private headings: Headings | undefined;

  constructor(private readonly lines: readonly string[]) {}

  parseLine(text: string, line: number): void {
    const trimmed = text.trim();
    // A spreadsheet quotes a comment that has commas.
    if (/^#|^"#[^"]*"[\s,]*$/.test(trimmed) || /^[\s,;|]*$/.test(trimmed)) return;
    if (text.length > MAX_LINE_LENGTH) {
      const message = `the line has ${text.length} characters, but may have at most ${MAX_LINE_LENGTH}`;
      throw new FileFormatError(FILE, message, line, MAX_LINE_LENGTH + 1);
    }
    if (this.section === 'unknown' && !/^"?\[/.test(trimmed)) return;
    this.rejectWrongDelimiter(trimmed, line);
    const cells = this.splitLine(text, line);
    const sectionName = /^\[(.+)\]$/.exec(cells[0]?.text ?? '')?.[1];
    if (sectionName !== undefined) this.startSection(sectionName, line, cells[0]!.column);
    else if (this.section === undefined) throw new FileFormatError(FILE, describeFirstRow(trimmed), line, 1);
    else if (this.section === 'unknown') return;
    else if (this.headings === undefined) this.readHeadings(this.section, cells, line);
    else this.readRow(this.section, new ManifestRow(this.headings, cells, line));
  }

  /** @throws UncheckableManifest where a quoted cell goes on in a later line. */
  private splitLine(text: string, line: number): Cell[] {
    try {
      return splitLine(text, line);
    } catch (error) {
      if (!this.lines.slice(line, line + MOST_CELL_LINES).some((later) => later.includes('"'))) throw error;
      throw new UncheckableManifest('a quoted cell has a line break, so polony did not check the manifest', line);
    }
  }

  /** Checks the lines that must have several cells or a section alone; a row of values may contain anything. */
  private rejectWrongDelimiter(text: string, line: number): void {
    if (this.section === undefined && /^sep=.$/i.test(text)) {
      const message = `the first line is the instruction ${text} to a spreadsheet. Delete it, and save the file as CSV.`;
      throw new FileFormatError(FILE, message, line, 1);
    }
    const isHeadings = this.section !== 'runvalues' && this.section !== 'unknown' && this.headings === undefined;
    // A page or a document has no delimiter.
    if (this.section === undefined && FOREIGN_TEXTS.some(([pattern]) => pattern.test(text))) return;
    if (!isHeadings && !/^\[[^\]]*\]./.test(text)) return;
    const delimiter = findWrongDelimiter(text);
    if (delimiter === undefined) return;
    const message = `the columns are separated by ${delimiter}, but must be separated by commas. Save the file as CSV.`;
    throw new FileFormatError(FILE, message, line, 1);
  }

  private startSection(name: string, line: number, column: number): void {
    const section = name.trim().toLowerCase();
    this.headings = undefined;
    if (section !== 'runvalues' && section !== 'settings' && section !== 'samples') {
      if (this.hasSamples()) {
        this.section = 'unknown';
        this.manifest.unknownSections.push({ name, line });
        return;
      }
      const hint = ILLUMINA_SECTIONS.includes(section) ? ' This looks like a sample sheet of Illumina.' : '';
      const message = `the section [${name}] is unknown. Sections are [RunValues], [Settings] and [Samples].${hint}`;
      throw new FileFormatError(FILE, message, line, column);
    }
    this.section = section;
  }

  /** Whether there is a section for Bases2Fastq, so that an unknown one may be an addition. */
  private hasSamples(): boolean {
    this.#hasSamples ??= this.lines.some((text) => /^\s*\uFEFF?"?\[\s*samples\s*\]/i.test(text));
    return this.#hasSamples;
  }
  #hasSamples: boolean | undefined;

  private readHeadings(section: Section, cells: readonly Cell[], line: number): void {
    const original = cells.map((cell) => cell.text);
    const names = original.map((heading) => heading.toLowerCase());
    // Custom columns may have the same heading. For those that Bases2Fastq reads it would be unclear which one counts.
    const repeated = names.findIndex(
      (heading, index) => KNOWN_HEADINGS.includes(heading) && names.indexOf(heading) < index,
    );
    if (repeated >= 0 && section !== 'runvalues') {
      const message = `the heading ${original[repeated]} appears twice in [${SECTION_TITLES[section]}]`;
      throw new FileFormatError(FILE, message, line, cells[repeated]!.column);
    }
    this.headings = { original, names, positions: firstPositions(names) };
    this.manifest.headings[section] = { names, original, line };
    const missing = REQUIRED_HEADINGS[section].find((name) => !names.includes(name));
    if (missing !== undefined)
      throw new FileFormatError(FILE, describeMissingHeading(section, missing, original), line, 1);
  }

  private readRow(section: Section, row: ManifestRow): void {
    const extra = section === 'runvalues' ? undefined : row.findExtraCell();
    if (extra !== undefined) this.manifest.extraCells.push({ ...extra, line: row.line });
    if (section === 'runvalues') {
      const key = row.text('keyname');
      if (key !== undefined) this.manifest.runValues[key] = row.text('value') ?? row.text('values') ?? '';
    } else if (section === 'settings') this.manifest.settings.push(settingOf(row));
    else this.manifest.samples.push(new SampleRow(row));
  }
}

/** Why headings lack one that the section needs. */
function describeMissingHeading(section: Section, missing: string, original: readonly string[]): string {
  const title = HEADING_TITLES[missing] ?? missing;
  const first = original[0] ?? '';
  if (
    first.includes(',') &&
    first
      .toLowerCase()
      .split(',')
      .map((cell) => cell.trim())
      .includes(missing)
  )
    return 'the whole line is in quotes, so that it is one cell. Remove the quotes around the lines.';
  const delimiter = findHeadingDelimiter(first);
  if (delimiter !== undefined)
    return `the columns are separated by ${delimiter}, but must be separated by commas. Save the file as CSV.`;
  const similar =
    section === 'runvalues' ? undefined : original.find((heading) => findMeantHeading(section, heading) === missing);
  const hint = similar === undefined ? '' : `. Rename ${similar} to ${title}`;
  const isSample = /^[ACGTN+]{4,}$/i.test(original[1] ?? '');
  return (
    `[${SECTION_TITLES[section]}] has no heading ${title}${hint}` +
    (isSample ? '. The line below the section must have the headings of the columns' : '')
  );
}

/** Files that are no run manifest, by their first line. */
const FOREIGN_TEXTS: readonly (readonly [RegExp, string])[] = [
  [
    /^<(!doctype|html|\?xml|[a-z]+[ >])/i,
    'the file is HTML or XML. A download may have saved a page instead of the file.',
  ],
  [/^\{\\rtf/, 'the file is a document in the format RTF. Save it as plain text.'],
  [/^(\{|\[\s*[{"])/, 'the file is JSON, but a run manifest is CSV. RunManifest.csv is the right file.'],
  [/^%PDF/, 'the file is a PDF document.'],
  [/^PK/, 'the file is an archive (zip).'],
  [
    /^fcid\s*,/i,
    'this looks like a sample sheet of Illumina. A run manifest begins with [RunValues], [Settings] or [Samples].',
  ],
  [/[\u0085\u2028\u2029]/, 'lines end with a character other than LF or CRLF. Save the file with these line ends.'],
  [/^\[[^\]]*$/, 'the heading of the section has no closing bracket.'],
];

/** What is wrong with a row before the first section. */
function describeFirstRow(text: string): string {
  const foreign = FOREIGN_TEXTS.find(([pattern]) => pattern.test(text));
  if (foreign !== undefined) return foreign[1];
  const section = (['samples', 'settings'] as const).find((each) =>
    text
      .toLowerCase()
      .split(',')
      .some((cell) => REQUIRED_HEADINGS[each][0] === cell.trim()),
  );
  if (section !== undefined)
    return `the section is missing above these headings. Add the line [${SECTION_TITLES[section]}] before them.`;
  return (
    'there is a row before the first section. A run manifest begins with [RunValues], [Settings] or [Samples]; ' +
    'only comments, which begin with #, can be before them.'
  );
}

interface Headings {
  /** As in the file. */
  original: readonly string[];
  /** In lower case. */
  names: readonly string[];
  /** The position of each name, or of the first of several equal ones. */
  positions: ReadonlyMap<string, number>;
}

function firstPositions(names: readonly string[]): Map<string, number> {
  const positions = new Map<string, number>();
  for (const [index, name] of names.entries()) if (!positions.has(name)) positions.set(name, index);
  return positions;
}

/** A row below headings. */
class ManifestRow {
  constructor(
    private readonly headings: Headings,
    private readonly cells: readonly Cell[],
    readonly line: number,
  ) {}

  /** The text below a heading; undefined when there is none. */
  text(heading: string): string | undefined {
    const text = this.cellBelow(heading)?.text;
    return text === '' ? undefined : text;
  }

  column(heading: string): number | undefined {
    return this.cellBelow(heading)?.column;
  }

  /** The first cell with a text below no heading. */
  findExtraCell(): Cell | undefined {
    return this.cells.find(({ text }, at) => text !== '' && (this.headings.names[at] ?? '') === '');
  }

  private cellBelow(heading: string): Cell | undefined {
    return this.cells[this.headings.positions.get(heading) ?? -1];
  }

  required(heading: string, title: string): string {
    const text = this.text(heading);
    if (text === undefined) throw new FileFormatError(FILE, `${title} is empty`, this.line, this.column(heading));
    return text;
  }

  lanes(): number[] {
    const text = this.text('lane');
    const lanes = (text ?? '').replace(/\s/g, '');
    if (lanes === '' || lanes === '1+2' || lanes === '2+1') return [1, 2];
    if (lanes === '1' || lanes === '2') return [Number(lanes)];
    const message = `Lane is ${JSON.stringify(text)}, but must be 1, 2 or 1+2`;
    throw new FileFormatError(FILE, message, this.line, this.column('lane'));
  }

  /** Columns that are not Bases2Fastq's own, by heading. */
  customColumns(): Record<string, string> {
    const custom: Record<string, string> = {};
    this.headings.names.forEach((heading, index) => {
      if (heading !== '' && !SAMPLE_HEADINGS.includes(heading))
        custom[this.headings.original[index]!] = this.cells[index]?.text ?? '';
    });
    return custom;
  }
}

function settingOf(row: ManifestRow): ManifestSetting {
  return {
    name: row.required('settingname', 'SettingName'),
    value: row.text('value') ?? '',
    lanes: row.lanes(),
    line: row.line,
    column: row.column('value') ?? 1,
  };
}

/** A file may have a thousand headings and a hundred thousand short rows, so a sample reads most cells when asked. */
class SampleRow implements ManifestSample {
  readonly name: string;
  readonly index1: string;
  readonly index2: string;
  readonly lanes: number[];
  readonly project: string | undefined;
  readonly externalId: string | undefined;
  readonly line: number;
  readonly #row: ManifestRow;

  constructor(row: ManifestRow) {
    this.name = row.required('samplename', 'SampleName');
    this.index1 = readIndex(row.text('index1'));
    this.index2 = readIndex(row.text('index2'));
    this.lanes = row.lanes();
    this.project = row.text('project');
    this.externalId = row.text('externalid');
    this.line = row.line;
    this.#row = row;
  }

  get custom(): Record<string, string> {
    return this.#row.customColumns();
  }

  columnOf(heading: string): number | undefined {
    return this.#row.column(heading);
  }

  textOf(heading: string): string | undefined {
    return this.#row.text(heading);
  }
}

function readIndex(text = ''): string {
  return text
    .split('+')
    .map((sequence) => sequence.trim())
    .join('+')
    .toUpperCase();
}
