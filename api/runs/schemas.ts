import { Type } from 'typebox';
import { CONTRACT_RUN_STATUSES, RUN_ORDER } from '../../domain/runs/filter.js';
import { component } from '../openapi/components.js';
import {
  closed,
  errors,
  IdParams,
  NullableString,
  NullableTimestamp,
  oneOf,
  responseBody,
  strings,
  Timestamp,
} from '../openapi/shared.js';
import { filterFieldsResponse, FilterValuesQuery, filterValuesResponse } from '../filterFields.js';
import { FilterQuery, OrderedPageQuery } from '../paging.js';

/** Where the files of a run or an execution are. */
export const Output = component(
  'Output',
  Type.Object(
    {
      storageConnectionId: Type.String(),
      uri: Type.String({ description: 'Empty, or an S3 URI that ends with a slash' }),
      kinds: Type.Array(Type.String()),
    },
    closed,
  ),
);

const Blocked = component(
  'Blocked',
  Type.Object(
    {
      kind: Type.String(),
      action: Type.Optional(Type.String()),
      resource: Type.Optional(Type.String()),
      message: Type.String(),
      remedy: Type.String(),
      statement: Type.Optional(
        Type.Unsafe<unknown>({ description: 'The policy statement that would grant the missing permission' }),
      ),
      since: Type.Optional(
        Type.String({ format: 'date-time', description: 'Since when the same kind of problem blocks' }),
      ),
    },
    { ...closed, description: 'What needs a person to act, and what to do' },
  ),
);
/** What blocks a run or an execution; null where nothing does. */
export { Blocked };
export const NullableBlocked = Type.Union([Blocked, Type.Null()]);

const Consumable = component(
  'Consumable',
  Type.Object(
    {
      serialNumber: Type.String(),
      partNumber: Type.String(),
      lotNumber: Type.String(),
      expiration: Type.Optional(Timestamp),
    },
    closed,
  ),
);
const NullableConsumable = Type.Union([Consumable, Type.Null()]);
const Panel = Type.Object({ id: Type.String(), name: Type.String(), version: Type.String() }, closed);
const SequencingSetup = Type.Object(
  {
    kitName: Type.String(),
    libraryStructure: Type.String({ description: 'circular or linear' }),
    prepType: Type.String(),
    reads: Type.Array(Type.Object({ name: Type.String(), cycles: Type.Integer(), order: Type.Integer() }, closed)),
    chemistryVersion: Type.String(),
    filterMask: NullableString,
    polonyDensity: NullableString,
    lowDiversity: Type.Boolean(),
    panel: Type.Union([Panel, Type.Null()]),
    flowcell: NullableConsumable,
    buffer: NullableConsumable,
    sequencingCartridge: NullableConsumable,
  },
  closed,
);
const MultiomicsSetup = Type.Object(
  {
    panel: Panel,
    kitType: Type.String(),
    wellLayout: Type.String(),
    flowcell: NullableConsumable,
    buffer: NullableConsumable,
    panelCartridge: NullableConsumable,
  },
  closed,
);
const percent = Type.Optional(Type.Number({ description: 'Percent' }));
const SequencingMetrics = Type.Object(
  {
    totalReads: Type.Optional(Type.Integer()),
    totalYield: Type.Optional(Type.Integer({ description: 'Bases' })),
    q30: percent,
    q40: percent,
    q50: percent,
    avgQ: Type.Optional(Type.Number()),
    errorRate: percent,
    phixAlignmentRate: percent,
  },
  closed,
);
/** A run in the shape of the vendor's contract. */
const Run = component(
  'Run',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      description: Type.String(),
      type: Type.String({ description: 'sequencing or multiomics' }),
      status: oneOf(CONTRACT_RUN_STATUSES.map((status) => `RUN_STATUS_${status}`)),
      instrument: Type.Object(
        {
          id: Type.String(),
          name: Type.String(),
          serialNumber: Type.String(),
          model: Type.String(),
          softwareVersion: Type.String(),
        },
        { ...closed, description: 'The instrument at the time of the run' },
      ),
      output: Output,
      timeCreated: Timestamp,
      timeStarted: NullableTimestamp,
      timeCompleted: NullableTimestamp,
      timeUpdated: NullableTimestamp,
      tags: Type.Array(Type.String()),
      recipe: Type.Union([Type.Object({ id: Type.String(), name: Type.String() }, closed), Type.Null()]),
      manifest: Type.Union([
        Type.Object({ filename: Type.String(), downloadUrl: Type.Optional(Type.String()) }, closed),
        Type.Null(),
      ]),
      design: Type.Null(),
      operator: Type.String(),
      setup: Type.Object(
        {
          sequencing: Type.Union([SequencingSetup, Type.Null()]),
          multiomics: Type.Union([MultiomicsSetup, Type.Null()]),
        },
        closed,
      ),
      metrics: Type.Object(
        {
          sequencing: Type.Union([SequencingMetrics, Type.Null()], {
            description:
              'As the instrument measured them (AvitiRunStats.json). ' +
              'Metrics that it lacks come from the execution that completed last',
          }),
          multiomics: Type.Null(),
        },
        closed,
      ),
    },
    closed,
  ),
);

/** What may go wrong with a run later. Nothing is blocked because of it. */
export const RunWarnings = Type.Array(
  component(
    'RunWarning',
    Type.Object(
      { code: Type.String({ description: 'For programs, such as RUN_PATH_CHARACTERS' }), message: Type.String() },
      closed,
    ),
  ),
  { description: 'What may go wrong with this run later. polony blocks nothing because of it' },
);

const UploadProgress = Type.Object(
  {
    objects: Type.Integer(),
    bytes: Type.Integer(),
    cycles: Type.Integer({ description: 'How many of the expected cycle files in BaseCalls exist' }),
    expectedCycles: Type.Integer(),
    missing: Type.Optional(strings('The first 20 files that are absent or empty')),
    missingCount: Type.Optional(Type.Integer()),
    timeGrown: Timestamp,
    stalled: Type.Boolean(),
  },
  closed,
);
/** What polony knows of a run beyond the vendor's contract. */
const RunDetails = component(
  'RunDetails',
  Type.Object(
    {
      uploadState: oneOf(['uploading', 'complete', 'refused', 'vanished']),
      uploadDescription: Type.String(),
      outcome: NullableString,
      blocked: NullableBlocked,
      blockedSince: NullableTimestamp,
      runFolder: Type.String(),
      workflowId: Type.String({ description: 'The workflow ID in Temporal' }),
      checked: oneOf(['content', 'presence']),
      progress: Type.Union([UploadProgress, Type.Null()]),
      warnings: RunWarnings,
    },
    closed,
  ),
);

const PageQuery = OrderedPageQuery(Object.keys(RUN_ORDER));

const tags = ['RunService'];
const oneRun = (description: string) => responseBody(description, { run: Run });

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  list: {
    operationId: 'RunService_ListRuns',
    tags,
    summary: 'List runs, newest first',
    querystring: PageQuery,
    response: {
      200: responseBody('A page of runs', {
        runs: Type.Array(Run),
        nextPageToken: Type.String(),
        previousPageToken: Type.String(),
        totalCount: Type.Optional(Type.Integer()),
      }),
      ...errors(),
    },
  },
  listBlocked: {
    operationId: 'RunService_ListBlockedRuns',
    tags,
    summary: 'List the runs whose upload polony cannot follow until a person acts, newest first',
    description: 'Each with what blocks it, since when, and what to do.',
    querystring: PageQuery,
    response: {
      200: responseBody('A page of blocked runs', {
        runs: Type.Array(Type.Object({ run: Run, blocked: Blocked }, closed)),
        nextPageToken: Type.String(),
        previousPageToken: Type.String(),
        totalCount: Type.Optional(Type.Integer()),
      }),
      ...errors(),
    },
  },
  listFilterFields: {
    operationId: 'RunService_ListRunFilterFields',
    tags,
    summary: 'List the keywords that filter runs',
    response: filterFieldsResponse,
  },
  listFilterValues: {
    operationId: 'RunService_ListRunFilterValues',
    tags,
    summary: 'List values that occur among runs, for a filter',
    description: 'For keywords without an index, the values of the 10,000 newest runs.',
    querystring: FilterValuesQuery,
    response: filterValuesResponse,
  },
  count: {
    operationId: 'RunService_CountRuns',
    tags,
    summary: 'Count runs by status',
    querystring: FilterQuery,
    response: {
      200: responseBody('How many runs have each status', {
        counts: Type.Object(
          Object.fromEntries(CONTRACT_RUN_STATUSES.map((status) => [`RUN_STATUS_${status}`, Type.Integer()])),
          closed,
        ),
        blocked: Type.Integer({ description: 'How many of them wait for a person' }),
        stalled: Type.Integer({ description: 'How many of them upload without progress' }),
        total: Type.Integer(),
      }),
      ...errors(),
    },
  },
  get: {
    operationId: 'RunService_GetRun',
    tags,
    summary: 'Get a run',
    description:
      'A caller with the scope `runs:download` also gets a URL to download the run manifest. It is valid for an hour.',
    params: IdParams,
    response: { 200: oneRun('The run'), ...errors(404) },
  },
  getDetails: {
    operationId: 'RunService_GetRunDetails',
    tags,
    summary: 'Get a run and the state of its upload',
    params: IdParams,
    response: { 200: responseBody('The run and its details', { run: Run, details: RunDetails }), ...errors(404) },
  },
  retry: {
    operationId: 'RunService_RetryRun',
    tags,
    summary: 'Check the upload of a run now',
    description:
      'If polony stopped following the upload, for example after it rejected the run, it starts again. ' +
      'Use this after you uploaded a failed or stopped run again: polony does not look at such a run by itself.',
    params: IdParams,
    response: { 202: oneRun('polony checks the upload'), ...errors(404, 409) },
  },
};
