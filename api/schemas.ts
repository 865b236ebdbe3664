import { Type } from 'typebox';
import { EXECUTION_STATUSES } from '../domain/executions/execution.js';
import { DELIVERY_STATES, TEST_EVENT, WEBHOOK_EVENTS } from '../domain/webhooks/webhook.js';
import { PageQuery } from './paging.js';
import { component } from './openapi/components.js';
import {
  closed,
  closedNonEmpty as change,
  NullableString,
  NullableTimestamp,
  oneOf,
  strings,
  Timestamp,
} from './openapi/shared.js';

// Until every subject has its own schemas, its routes import the shared ones from here.
export { addSchemas } from './openapi/components.js';
export {
  BODY,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  NullableTimestamp,
  Timestamp,
} from './openapi/shared.js';

export const Output = component(
  'Output',
  Type.Object(
    {
      storageConnectionId: Type.String(),
      uri: Type.String({ description: 'Empty, or with one slash at the end' }),
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
      statement: Type.Optional(Type.Unsafe<unknown>({ description: 'The policy statement that would grant it' })),
    },
    { ...closed, description: 'Why it waits for a person, and what to do' },
  ),
);
const NullableBlocked = Type.Union([Blocked, Type.Null()]);

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
const RUN_STATUSES = [
  'UNSPECIFIED',
  'CREATED',
  'PRIMING',
  'PRIMED',
  'SEQUENCING',
  'RUNNING',
  'PAUSING',
  'PAUSED',
  'STOPPING',
  'SEQUENCED',
  'COMPLETED',
  'FAILED',
  'STOPPED',
  'DISCARDED',
];
const percent = Type.Optional(Type.Number({ description: 'Percent' }));
/** As the vendor's contract has it. */
export const Run = component(
  'Run',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      description: Type.String(),
      type: Type.String({ description: 'sequencing or multiomics' }),
      status: oneOf(RUN_STATUSES.map((status) => `RUN_STATUS_${status}`)),
      instrument: Type.Object(
        {
          id: Type.String(),
          name: Type.String(),
          serialNumber: Type.String(),
          model: Type.String(),
          softwareVersion: Type.String(),
        },
        { ...closed, description: 'As it was at the time of the run' },
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
          sequencing: Type.Union(
            [
              Type.Object(
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
              ),
              Type.Null(),
            ],
            {
              description:
                'As the instrument has measured it (AvitiRunStats.json); what that lacks as Bases2Fastq has, of the execution that completed last',
            },
          ),
          multiomics: Type.Null(),
        },
        closed,
      ),
    },
    closed,
  ),
);
export const RunDetails = component(
  'RunDetails',
  Type.Object(
    {
      uploadState: oneOf(['uploading', 'complete', 'refused', 'vanished']),
      uploadDescription: Type.String(),
      outcome: NullableString,
      blocked: NullableBlocked,
      runFolder: Type.String(),
      workflowId: Type.String({ description: 'In Temporal' }),
      checked: oneOf(['content', 'presence']),
      progress: Type.Union([
        Type.Object(
          {
            objects: Type.Integer(),
            bytes: Type.Integer(),
            cycles: Type.Integer({ description: 'Of the BaseCalls that are there' }),
            expectedCycles: Type.Integer(),
            missing: Type.Optional(strings('Absent or empty, the first 20')),
            missingCount: Type.Optional(Type.Integer()),
            timeGrown: Timestamp,
            stalled: Type.Boolean(),
          },
          closed,
        ),
        Type.Null(),
      ]),
    },
    closed,
  ),
);

/** As the vendor's contract has it. */
export const Execution = component(
  'Execution',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      status: oneOf(EXECUTION_STATUSES.map((status) => `EXECUTION_STATUS_${status}`)),
      statusDescription: Type.String(),
      platform: Type.String(),
      workflow: Type.Object({ name: Type.String(), version: Type.String() }, closed),
      flow: Type.Object({ id: Type.String(), name: Type.String() }, closed),
      inputs: Type.Array(
        Type.Object(
          {
            run: Type.Object(
              {
                id: Type.String(),
                name: Type.String(),
                instrumentName: Type.String(),
                kitType: Type.String(),
                runType: Type.String(),
              },
              closed,
            ),
          },
          closed,
        ),
      ),
      output: Output,
      startedBy: Type.Object({ id: Type.String(), email: Type.String(), name: Type.String() }, closed),
      timeCreated: Timestamp,
      timeStarted: NullableTimestamp,
      timeCompleted: NullableTimestamp,
      errorMessage: NullableString,
    },
    {
      ...closed,
      examples: [
        {
          id: '01920000-0000-7000-8000-000000000006',
          name: 'b2f NA12878',
          status: 'EXECUTION_STATUS_RUNNING',
          statusDescription: 'HealthOmics run 1234567 is RUNNING',
          platform: 'aws_omics',
          workflow: { name: 'bases2fastq', version: '' },
          flow: { id: '01920000-0000-7000-8000-000000000002', name: 'b2f' },
          inputs: [
            {
              run: {
                id: '01920000-0000-7000-8000-000000000003',
                name: 'NA12878',
                instrumentName: 'AV240001',
                kitType: '',
                runType: 'sequencing',
              },
            },
          ],
          output: {
            storageConnectionId: '01920000-0000-7000-8000-000000000001',
            uri: 's3://lab-aviti/runs/polony-executions/01920000-0000-7000-8000-000000000006/1234567/',
            kinds: [],
          },
          startedBy: { id: 'lims', email: '', name: 'lims' },
          timeCreated: '2026-01-16T04:00:00.000Z',
          timeStarted: '2026-01-16T04:00:05.000Z',
          timeCompleted: null,
          errorMessage: null,
        },
      ],
    },
  ),
);
/** As the vendor's contract has it. */
export const File = component(
  'File',
  Type.Object(
    {
      path: Type.String({ description: 'Relative to the resource, as prefix is' }),
      name: Type.String(),
      size: Type.Integer({ description: 'Bytes' }),
      lastModified: Timestamp,
      uri: Type.String(),
      downloadUrl: Type.Optional(
        Type.String({
          description: 'Where it was asked for; not of what is archived, nor of a key with folders named . or ..',
        }),
      ),
      storageClass: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'As S3 names it; GLACIER and DEEP_ARCHIVE must be restored before they are read',
      }),
    },
    {
      ...closed,
      examples: [
        {
          path: 'BaseCalls/R1_C001.zip',
          name: 'R1_C001.zip',
          size: 104857600,
          lastModified: '2026-01-15T20:00:00.000Z',
          uri: 's3://lab-aviti/runs/AV240001/20260115_AV240001_NA12878/BaseCalls/R1_C001.zip',
          storageClass: 'STANDARD',
        },
      ],
    },
  ),
);
/** As the vendor's contract has it. */
export const S3Credentials = component(
  'S3Credentials',
  Type.Object(
    {
      region: Type.String(),
      bucket: Type.String(),
      prefix: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'What keys begin with in the bucket; null for all',
      }),
      accessKeyId: Type.String(),
      secretAccessKey: Type.String(),
      sessionToken: Type.String(),
      expiration: Timestamp,
    },
    {
      ...closed,
      examples: [
        {
          region: 'us-west-2',
          bucket: 'lab-aviti',
          prefix: 'runs/AV240001/20260115_AV240001_NA12878/',
          accessKeyId: 'ASIAIOSFODNN7EXAMPLE',
          secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
          sessionToken: 'IQoJb3JpZ2luX2VjEXAMPLE',
          expiration: '2026-01-16T10:00:00.000Z',
        },
      ],
    },
  ),
);

/** As the vendor's contract has it. */
export const Instrument = component(
  'Instrument',
  Type.Object(
    {
      serialNumber: Type.String(),
      name: Type.String(),
      model: Type.String(),
      status: oneOf(
        ['UNSPECIFIED', 'ACTIVE', 'INACTIVE', 'DECOMMISSIONED'].map((status) => `INSTRUMENT_STATUS_${status}`),
      ),
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
      timeLastConnected: NullableTimestamp,
      softwareVersion: NullableString,
    },
    {
      ...closed,
      examples: [
        {
          serialNumber: 'AV240001',
          name: 'AV240001',
          model: 'AVITI',
          status: 'INSTRUMENT_STATUS_ACTIVE',
          timeCreated: '2026-01-10T09:00:00.000Z',
          timeUpdated: '2026-01-16T04:00:00.000Z',
          timeLastConnected: '2026-01-16T04:00:00.000Z',
          softwareVersion: '3.2.1',
        },
      ],
    },
  ),
);

const anyObject = (description: string) =>
  Type.Unsafe<object | null>({ type: ['object', 'null'], additionalProperties: true, description });
export const ExecutionDetails = component(
  'ExecutionDetails',
  Type.Object(
    {
      workflowId: Type.String({ description: 'In Temporal' }),
      trigger: oneOf(['auto', 'api']),
      account: Type.String(),
      region: Type.String(),
      computeConnectionId: Type.String(),
      healthOmics: Type.Union([
        Type.Object(
          {
            runId: Type.String(),
            uuid: NullableString,
            arn: NullableString,
            status: NullableString,
            runOutputUri: NullableString,
          },
          closed,
        ),
        Type.Null(),
      ]),
      blocked: NullableBlocked,
      cancelRequested: Type.Union([
        Type.Object({ requestedBy: Type.String(), reason: NullableString, time: NullableTimestamp }, closed),
        Type.Null(),
      ]),
      parameters: anyObject('What the HealthOmics run was started with'),
      summary: anyObject('What Bases2Fastq produced'),
      errorType: NullableString,
      failure: Type.Union(
        [
          Type.Object(
            {
              reason: Type.String(),
              owner: oneOf(['customer', 'vendor', 'aws', 'polony']),
              what: Type.String(),
              toDo: Type.String(),
              transient: Type.Boolean(),
            },
            closed,
          ),
          Type.Null(),
        ],
        { description: 'Why it failed: who can mend it, what happened, what to do' },
      ),
      attempt: Type.Integer({ description: 'Which of its HealthOmics runs it is at, from 1' }),
      earlierAttempts: Type.Array(
        Type.Object(
          {
            attempt: Type.Integer(),
            runId: Type.String(),
            uuid: NullableString,
            arn: NullableString,
            runOutputUri: NullableString,
            failureReason: NullableString,
            statusMessage: NullableString,
            timeStarted: NullableTimestamp,
            timeEnded: Timestamp,
          },
          closed,
        ),
        { description: 'HealthOmics runs that failed for a reason that passes' },
      ),
      manifest: Type.Object(
        {
          source: oneOf(['run', 'text', 'uri']),
          uri: NullableString,
          report: anyObject('What the check has found: errors and warnings, each with rule, line, column and message'),
        },
        closed,
      ),
      relaunchOf: NullableString,
    },
    closed,
  ),
);

export const WebhookResource = component(
  'Webhook',
  Type.Object(
    {
      id: Type.String(),
      url: Type.String(),
      description: Type.String(),
      eventTypes: Type.Array(oneOf(WEBHOOK_EVENTS), { description: 'None for all' }),
      enabled: Type.Boolean(),
      disabledReason: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'Why polony has switched it off',
      }),
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
    },
    closed,
  ),
);
const webhookFields = {
  url: Type.String({
    description:
      'https://…, without user and password; addresses of private networks only where whoever runs polony allows them',
  }),
  description: Type.Optional(Type.String({ maxLength: 1000 })),
  eventTypes: Type.Optional(
    Type.Array(Type.String(), {
      maxItems: 100,
      description: `All where it is left out or empty; of ${WEBHOOK_EVENTS.join(', ')}`,
    }),
  ),
  enabled: Type.Optional(Type.Boolean()),
};
export const WebhookBody = Type.Object(webhookFields, {
  ...closed,
  examples: [{ url: 'https://lims.example.org/hooks/polony', eventTypes: ['execution.completed', 'execution.failed'] }],
});
export const WebhookChange = Type.Partial(Type.Object(webhookFields), { ...change, examples: [{ enabled: false }] });

export const WebhookDelivery = component(
  'WebhookDelivery',
  Type.Object(
    {
      id: Type.String(),
      eventId: Type.String({
        description: 'The header webhook-id; the same for every webhook that is told of the event, and for every try',
      }),
      eventType: oneOf([...WEBHOOK_EVENTS, TEST_EVENT]),
      sequence: Type.Integer({ description: 'Of one thing, what happened later has the greater one; there are gaps' }),
      data: Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true }),
      state: oneOf(DELIVERY_STATES),
      attempts: Type.Integer({ description: 'Since it was first made, or last replayed' }),
      replays: Type.Integer(),
      lastStatus: Type.Unsafe<number | null>({
        type: ['integer', 'null'],
        description: 'HTTP status of the last try; null where there was no answer',
      }),
      lastError: NullableString,
      timeEvent: Timestamp,
      timeNext: NullableTimestamp,
      timeEnded: NullableTimestamp,
    },
    closed,
  ),
);
export const DeliveriesQuery = Type.Object(
  { ...PageQuery.properties, state: Type.Optional(oneOf(DELIVERY_STATES)) },
  closed,
);
export const ReplayBody = Type.Object(
  {
    since: Type.Optional(Type.String({ format: 'date-time', description: 'Events of this time and later' })),
    until: Type.Optional(Type.String({ format: 'date-time' })),
    deliveryIds: Type.Optional(Type.Array(Type.String(), { minItems: 1, maxItems: 1000 })),
    onlyFailed: Type.Optional(Type.Boolean({ description: 'Only what was given up' })),
  },
  { ...closed, minProperties: 1, examples: [{ since: '2026-01-15T00:00:00Z', onlyFailed: true }] },
);
