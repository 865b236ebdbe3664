import { Type } from 'typebox';
import { component } from '../../openapi/components.js';
import {
  closed,
  errors,
  IdParams,
  NullableString,
  NullableTimestamp,
  oneOf,
  responseBody,
} from '../../openapi/shared.js';
import { FILE_STATES } from './reader.js';

const number = (description: string) => Type.Unsafe<number | null>({ type: ['number', 'null'], description });
const integer = (description: string) => Type.Unsafe<number | null>({ type: ['integer', 'null'], description });
const column = (description: string) =>
  Type.Unsafe<(number | null)[] | null>({
    type: ['array', 'null'],
    items: { type: ['number', 'null'] },
    description,
  });

const SeriesFile = component(
  'SeriesFile',
  Type.Object(
    {
      name: Type.String(),
      uri: NullableString,
      state: oneOf(FILE_STATES),
      message: Type.String({ description: 'Why the file was not read, and what to do' }),
      size: integer('Bytes'),
      lastModified: NullableTimestamp,
    },
    closed,
  ),
);

const CycleSeries = component(
  'CycleSeries',
  Type.Object(
    {
      cycle: Type.Array(Type.Integer(), { description: 'Counted from 1' }),
      percentQ30: column('Percent of the bases with a quality of 30 or more'),
      percentQ40: column('Percent of the bases with a quality of 40 or more'),
      qualityScoreMean: column('Phred score'),
      errorRate: column('Percent of the PhiX bases that are wrong'),
      percentA: column('Percent of the bases of the cycle'),
      percentC: column('Percent of the bases of the cycle'),
      percentG: column('Percent of the bases of the cycle'),
      percentT: column('Percent of the bases of the cycle'),
      percentN: column('Percent of the bases of the cycle'),
    },
    {
      ...closed,
      description:
        'Arrays of the same length as cycle. null in an array is a value that the file lacks, and null in place of an ' +
        'array means that the file has none of its values',
    },
  ),
);

const quality = {
  percentQ30: number('Percent'),
  percentQ40: number('Percent'),
  qualityScoreMean: number('Phred score'),
};
const errorRate = number('Mean over the cycles, in percent of the PhiX bases');
const ReadSeries = component(
  'ReadSeries',
  Type.Object(
    {
      read: Type.String({ description: 'R1, R2, I1 or I2' }),
      ...quality,
      errorRate,
      phixAlignmentRate: number('Percent'),
      cycles: CycleSeries,
    },
    closed,
  ),
);

const totals = {
  yield: integer('Bases'),
  assignedYield: integer('Bases of assigned polonies'),
  polonies: integer('In the series of the instrument, also polonies that do not pass the filter'),
  poloniesPassingFilter: integer('Only in the series of the instrument'),
  percentPassingFilter: number('Percent. Only in the series of the instrument'),
  ...quality,
  errorRate,
  percentAssigned: number('Percent of the polonies that belong to a sample'),
  percentMismatch: number('Percent of the assigned polonies whose index differs from that of the sample'),
  reads: Type.Array(ReadSeries),
};
const percentOf = Type.Unsafe<'run' | 'lane' | null>({
  type: ['string', 'null'],
  enum: ['run', 'lane', null],
  description:
    'What the percentages of rows of a single lane are shares of. Those of rows for 1+2 are shares of the run. ' +
    'null: the file does not show it',
});
const lane = Type.String({ description: '1, 2 or 1+2. Rows for 1+2 are the sum of the others' });

const series = {
  files: Type.Array(SeriesFile, { description: 'The files that were read, and why others were not' }),
  warnings: Type.Array(Type.String(), { description: 'What is wrong with single values, which are null' }),
  softwareVersion: Type.Unsafe<string | null>({ type: ['string', 'null'], description: 'Version of Bases2Fastq' }),
  totals: Type.Union([Type.Object(totals, { ...closed, description: 'Of the run' }), Type.Null()]),
  lanes: Type.Array(Type.Object({ lane: Type.Integer(), ...totals }, closed)),
  samples: Type.Array(
    Type.Object(
      {
        sampleName: Type.String(),
        sampleNumber: integer('As the file counts samples'),
        polonies: integer('Assigned polonies'),
        yield: integer('Bases'),
        ...quality,
        percentMismatch: number('Percent of its polonies whose index differs from that of the sample'),
      },
      closed,
    ),
  ),
  indexAssignment: Type.Union([
    Type.Object(
      {
        percentOf,
        rows: Type.Array(
          Type.Object(
            {
              sampleName: Type.String(),
              sampleNumber: integer('As the file counts samples'),
              index1: Type.String(),
              index2: Type.String(),
              lane,
              polonies: Type.Number(),
              percent: number('Percent: see percentOf'),
              yield: integer('Bases'),
              percentPerfect: number('Percent of its polonies whose index is that of the sample'),
              percentMismatch: number('Percent of its polonies whose index differs from that of the sample'),
            },
            closed,
          ),
        ),
        isTruncated: Type.Boolean({ description: 'Whether the file has more rows' }),
      },
      closed,
    ),
    Type.Null(),
  ]),
  unassignedSequences: Type.Union([
    Type.Object(
      {
        percentOf,
        rows: Type.Array(
          Type.Object(
            {
              lane,
              index1: Type.String(),
              index2: Type.String(),
              polonies: Type.Number(),
              percent: number('Percent: see percentOf'),
            },
            closed,
          ),
          { description: 'For each lane, at most 100, those with the most polonies first' },
        ),
        isTruncated: Type.Boolean(),
      },
      closed,
    ),
    Type.Null(),
  ]),
};
const InstrumentSeries = component('InstrumentSeries', Type.Object(series, closed));
const ExecutionSeries = component('ExecutionSeries', Type.Object({ executionId: Type.String(), ...series }, closed));

const units = 'Yields are in bases, and shares in percent. Values that a file lacks are null.';

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  ofRun: {
    operationId: 'RunService_GetRunSeries',
    tags: ['RunService'],
    summary: 'Get the measurements of a run by read, cycle and lane, and its index assignment',
    description:
      'instrument has what the instrument measured: AvitiRunStats.json, and IndexAssignment.csv with the scope ' +
      '`runs:download`. execution has what Bases2Fastq found, with the scope `executions:read`: RunStats.json, ' +
      `IndexAssignment.csv and UnassignedSequences.csv of the execution that completed last. ${units}`,
    params: IdParams,
    querystring: Type.Object(
      {
        executionId: Type.Optional(
          Type.String({ description: 'An execution of the run. The default is the one that completed last' }),
        ),
      },
      closed,
    ),
    response: {
      200: responseBody('The series', {
        runId: Type.String(),
        instrument: InstrumentSeries,
        execution: Type.Union([ExecutionSeries, Type.Null()]),
      }),
      ...errors(404),
    },
  },
  ofExecution: {
    operationId: 'ExecutionService_GetExecutionSeries',
    tags: ['ExecutionService'],
    summary: 'Get the measurements in the results of an execution by read, cycle and lane, and its index assignment',
    description: `From RunStats.json, IndexAssignment.csv and UnassignedSequences.csv. ${units}`,
    params: IdParams,
    response: { 200: responseBody('The series', { series: ExecutionSeries }), ...errors(404) },
  },
};
