import { Type } from 'typebox';
import { component } from '../../openapi/components.js';
import {
  BODY,
  closed,
  closedNonEmpty,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  responseBody,
} from '../../openapi/shared.js';
import { PageQuery } from '../../paging.js';
import { NAME_DESCRIPTION, stateFields } from '../schemas.js';

const ComputeConnection = component(
  'ComputeConnection',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      type: Type.String(),
      providerId: Type.String(),
      executionRoleArn: Type.String(),
      region: Type.String(),
      ...stateFields('COMPUTE_CONNECTION_STATUS'),
    },
    closed,
  ),
);

const computeFields = {
  name: Type.String({ description: NAME_DESCRIPTION }),
  providerId: Type.String(),
  executionRoleArn: Type.String({
    description: "A role of the provider's account that trusts omics.amazonaws.com. HealthOmics runs use it",
  }),
  region: Type.String({ description: 'A region of AWS HealthOmics' }),
};

const ComputeBody = Type.Object(computeFields, {
  ...closed,
  examples: [
    {
      name: 'healthomics',
      providerId: '01920000-0000-7000-8000-000000000000',
      executionRoleArn: 'arn:aws:iam::111122223333:role/omics-execution',
      region: 'us-west-2',
    },
  ],
});

const ComputeChange = Type.Partial(Type.Object(computeFields), {
  ...closedNonEmpty,
  examples: [{ executionRoleArn: 'arn:aws:iam::111122223333:role/omics-execution-2' }],
});

const ComputeConnectionList = responseBody('One page of compute connections', {
  computeConnections: Type.Array(ComputeConnection),
  nextPageToken: Type.String(),
});
const computeResponse = (description: string) => responseBody(description, { computeConnection: ComputeConnection });

const tags = ['ComputeConnectionService'];

/** The operations on compute connections, as the OpenAPI document describes them. */
export const operations = {
  create: {
    operationId: 'ComputeConnectionService_CreateComputeConnection',
    tags,
    summary: 'Connect AWS HealthOmics',
    headers: IdempotencyHeaders,
    body: ComputeBody,
    response: { 201: computeResponse('The new compute connection'), ...errors(409, ...BODY, 422) },
  },
  list: {
    operationId: 'ComputeConnectionService_ListComputeConnections',
    tags,
    summary: 'List compute connections, oldest first',
    querystring: PageQuery,
    response: { 200: ComputeConnectionList, ...errors() },
  },
  get: {
    operationId: 'ComputeConnectionService_GetComputeConnection',
    tags,
    summary: 'Get a compute connection',
    params: IdParams,
    response: { 200: computeResponse('The compute connection'), ...errors(404) },
  },
  update: {
    operationId: 'ComputeConnectionService_UpdateComputeConnection',
    tags,
    summary: 'Change a compute connection',
    description:
      'Fields that you leave out stay as they are. You can change roles within the AWS account at any time. ' +
      'You can change the account and the region only while no flow or execution uses the compute connection.',
    params: IdParams,
    body: ComputeChange,
    response: { 200: computeResponse('The changed compute connection'), ...errors(404, 409, ...BODY) },
  },
  delete: {
    operationId: 'ComputeConnectionService_DeleteComputeConnection',
    tags,
    summary: 'Delete a compute connection that nothing uses',
    params: IdParams,
    response: { 204: NoContent, ...errors(404, 409) },
  },
};
