import { FileFormatError } from '../errors.js';
import { findJsonExcess } from '../json.js';

/** The reads of an AVITI run: two index reads and two insert reads. */
export const READ_NAMES = ['I1', 'I2', 'R1', 'R2'] as const;
export type ReadName = (typeof READ_NAMES)[number];

/** Number of cycles of each read; a read that was not sequenced is absent. */
export type Cycles = Partial<Record<ReadName, number>>;

/** A consumable as the instrument scanned it. */
export interface Consumable {
  serialNumber: string;
  partNumber: string;
  lotNumber: string;
  /** RFC 3339; absent when the instrument has none. */
  expiration?: string;
}

/**
 * What polony uses of `RunParameters.json` (FileVersion 2.0.0 to 6.1.0). Cytoprofiling files can lack `flowcellId` and
 * `cycles`, and older files lack more, so most members are optional.
 */
export interface RunParameters {
  fileVersion?: string;
  runName: string;
  runId?: string;
  recipeExecutionId?: string;
  /** `Sequencing` by default: files before 5.0.0 have no RunType, and there were no other types. */
  runType: string;
  runDescription?: string;
  side?: string;
  flowcellId?: string;
  /** RFC 3339 with nanoseconds. */
  date?: string;
  instrumentName: string;
  operatorName?: string;
  runFolderName?: string;
  tiles: string[];
  cycles?: Cycles;
  readOrder: ReadName[];
  kitConfiguration?: string;
  preparationWorkflow?: string;
  chemistryVersion?: string;
  lowDiversity?: boolean;
  platformVersion?: string;
  analysisLanes?: string;
  storageConnectionId?: string;
  libraryType?: string;
  filterMask?: string;
  polonyDensity?: string;
  panelName?: string;
  wellLayout?: string;
  consumables: {
    flowcell?: Consumable;
    sequencingCartridge?: Consumable;
    buffer?: Consumable;
    panelCartridge?: Consumable;
  };
}

type Json = Record<string, unknown>;
const FILE = 'RunParameters.json';

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readTextField(source: Json, key: string): string | undefined {
  const value = source[key];
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
}

/**
 * Most levels of a file; those of instruments and of Bases2Fastq have fewer than ten. For millions of levels the parser
 * needs gigabytes outside the heap, for a minute, and nothing can stop it.
 */
const MOST_LEVELS = 100;

/** Parses a file that contains a JSON object. @throws FileFormatError for an empty file and for any other content. */
export function parseJsonObject(file: string, content: string): Json {
  const trimmed = content.replace(/^\uFEFF/, '').trim();
  if (trimmed === '') throw new FileFormatError(file, 'the file is empty');
  if (findJsonExcess(trimmed, { depth: MOST_LEVELS, values: Infinity }) !== undefined)
    throw new FileFormatError(file, `the JSON is nested deeper than ${MOST_LEVELS} levels`);
  let value: unknown;
  try {
    value = JSON.parse(trimmed);
  } catch (error) {
    throw new FileFormatError(file, `not valid JSON (${(error as Error).message})`);
  }
  if (!isObject(value)) throw new FileFormatError(file, 'the JSON is not an object');
  return value;
}

function parseConsumable(source: unknown): Consumable | undefined {
  if (!isObject(source)) return undefined;
  const serialNumber = readTextField(source, 'SerialNumber');
  if (serialNumber === undefined) return undefined;
  const expiration = readTextField(source, 'Expiration');
  return {
    serialNumber,
    partNumber: readTextField(source, 'PartNumber') ?? '',
    lotNumber: readTextField(source, 'LotNumber') ?? '',
    // Instruments write the year 2999 for "never scanned". polony keeps what the instrument wrote.
    expiration: expiration !== undefined && !Number.isNaN(Date.parse(expiration)) ? expiration : undefined,
  };
}

/**
 * Parses `RunParameters.json`.
 * @throws FileFormatError when it is not JSON, lacks the name of the run or instrument, or has invalid cycles.
 */
export function parseRunParameters(content: string): RunParameters {
  const json = parseJsonObject(FILE, content);
  const runName = readTextField(json, 'RunName');
  const instrumentName = readTextField(json, 'InstrumentName');
  if (runName === undefined) throw new FileFormatError(FILE, 'RunName is missing');
  if (runName.length > 255)
    throw new FileFormatError(FILE, `RunName has ${runName.length} characters, but may have at most 255`);
  if (instrumentName === undefined) throw new FileFormatError(FILE, 'InstrumentName is missing');
  let cycles: Cycles | undefined;
  if (isObject(json.Cycles)) {
    cycles = {};
    for (const read of READ_NAMES) {
      const count = json.Cycles[read];
      if (count === undefined || count === null || count === 0) continue;
      if (typeof count !== 'number' || !Number.isInteger(count) || count < 0 || count > 9999) {
        throw new FileFormatError(FILE, `Cycles.${read} is ${JSON.stringify(count)}, not a whole number of cycles`);
      }
      cycles[read] = count;
    }
  }
  const readOrder = (readTextField(json, 'ReadOrder') ?? '')
    .split(',')
    .map((read) => read.trim())
    .filter((read): read is ReadName => (READ_NAMES as readonly string[]).includes(read));
  const recipeValues = Array.isArray(json.RecipeValues) ? json.RecipeValues.filter(isObject) : [];
  const advanced = isObject(json.AdvancedSettings) ? json.AdvancedSettings : {};
  const consumables = isObject(json.Consumables) ? json.Consumables : {};
  const filterMask = recipeValues.find((value) => value.Name === 'filterMask')?.Value;
  return {
    fileVersion: readTextField(json, 'FileVersion'),
    runName,
    runId: readTextField(json, 'RunID') ?? readTextField(json, 'runID'),
    recipeExecutionId: readTextField(json, 'RecipeExecutionID'),
    runType: readTextField(json, 'RunType') ?? 'Sequencing',
    runDescription: readTextField(json, 'RunDescription'),
    side: readTextField(json, 'Side'),
    flowcellId: readTextField(json, 'FlowcellID'),
    date: readTextField(json, 'Date'),
    instrumentName,
    operatorName: readTextField(json, 'OperatorName'),
    runFolderName: readTextField(json, 'RunFolderName'),
    tiles: Array.isArray(json.Tiles) ? json.Tiles.filter((tile): tile is string => typeof tile === 'string') : [],
    cycles,
    readOrder,
    kitConfiguration: readTextField(json, 'KitConfiguration'),
    preparationWorkflow: readTextField(json, 'PreparationWorkflow'),
    chemistryVersion: readTextField(json, 'ChemistryVersion'),
    lowDiversity: typeof json.LowDiversity === 'boolean' ? json.LowDiversity : undefined,
    platformVersion: readTextField(json, 'PlatformVersion'),
    analysisLanes: readTextField(json, 'AnalysisLanes'),
    storageConnectionId: readTextField(json, 'StorageConnectionID'),
    libraryType: readTextField(json, 'LibraryType'),
    filterMask: typeof filterMask === 'string' ? filterMask : undefined,
    polonyDensity: readTextField(advanced, 'PolonyDensity'),
    panelName: readTextField(json, 'PanelName'),
    wellLayout: readTextField(json, 'WellLayout'),
    consumables: {
      flowcell: parseConsumable(consumables.Flowcell),
      sequencingCartridge: parseConsumable(consumables.SequencingCartridge),
      buffer: parseConsumable(consumables.Buffer),
      panelCartridge: parseConsumable(consumables.PanelCartridge),
    },
  };
}
