import { FileFormatError } from '../errors.js';
import { type IndexSeries, parseIndexSeries, parseUnassignedSeries, type UnassignedSeries } from './indexSeries.js';
import { parseAnalysisSeries, parseInstrumentSeries, type StatsSeries } from './series.js';

/** The content of each file that series come from. */
export interface SeriesContent {
  'AvitiRunStats.json': StatsSeries;
  'RunStats.json': StatsSeries;
  'IndexAssignment.csv': IndexSeries;
  'UnassignedSequences.csv': UnassignedSeries;
}
export type SeriesFile = keyof SeriesContent;

const PARSERS: { [File in SeriesFile]: (content: string) => SeriesContent[File] } = {
  'AvitiRunStats.json': parseInstrumentSeries,
  'RunStats.json': parseAnalysisSeries,
  'IndexAssignment.csv': parseIndexSeries,
  'UnassignedSequences.csv': parseUnassignedSeries,
};

/** What a file came to: its content and about how many characters that has as JSON, or why it is damaged. */
export type ParsedSeries =
  | { content: SeriesContent[SeriesFile]; characters: number }
  | {
      /** A sentence. */
      problem: string;
    };

/** Parses one of the files, as it is stored. A damaged file is a result, so that a thread can return it. */
export function parseSeriesFile(file: SeriesFile, bytes: Uint8Array): ParsedSeries {
  try {
    const content = PARSERS[file](new TextDecoder().decode(bytes));
    return { content, characters: JSON.stringify(content).length };
  } catch (error) {
    if (error instanceof FileFormatError) return { problem: error.message };
    throw error;
  }
}
