import { Type } from 'typebox';
import { BODY, errors, responseBody } from '../openapi/shared.js';

const EventBody = Type.Object(
  {
    source: Type.String({ maxLength: 256 }),
    'detail-type': Type.String({ maxLength: 256 }),
    detail: Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true }),
  },
  {
    additionalProperties: true,
    examples: [
      {
        source: 'aws.s3',
        'detail-type': 'Object Created',
        account: '111122223333',
        region: 'us-west-2',
        detail: {
          bucket: { name: 'lab-aviti' },
          object: { key: 'runs/AV240001/20260115_AV240001_RUN/RunUploaded.json', size: 212 },
        },
      },
    ],
  },
);

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  take: {
    operationId: 'EventService_TakeEvent',
    tags: ['EventService'],
    summary: 'Receive an event from EventBridge',
    description:
      'An event only triggers a check, so a forged event costs at most one extra request. ' +
      'S3 `Object Created` checks the run, and aws.omics `Run Status Change` checks the execution. ' +
      'polony accepts all other events and ignores them. POLONY_EVENTS_KEY is a key for this operation only.',
    body: EventBody,
    response: { 202: responseBody('Accepted', { accepted: Type.Boolean() }), ...errors(...BODY) },
  },
};
