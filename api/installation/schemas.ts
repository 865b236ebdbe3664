import { Type } from 'typebox';
import { component } from '../openapi/components.js';
import { closed, errors, NullableString, responseBody } from '../openapi/shared.js';

const Installation = component(
  'Installation',
  Type.Object(
    {
      version: Type.String(),
      publicUrl: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'Where clients reach the API, if the installation says so',
      }),
      trustedAccountId: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'The AWS account that polony runs in. The roles of customers must trust it',
      }),
      temporal: Type.Object({ namespace: Type.String(), uiUrl: NullableString }, closed),
      auditsReads: Type.Boolean({ description: 'Whether the audit log also has requests that only read' }),
    },
    {
      ...closed,
      examples: [
        {
          version: '0.1.0',
          publicUrl: 'https://polony.example.org',
          trustedAccountId: '111122223333',
          temporal: { namespace: 'default', uiUrl: 'https://temporal.example.org' },
          auditsReads: false,
        },
      ],
    },
  ),
);

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  get: {
    operationId: 'InstallationService_GetInstallation',
    tags: ['InstallationService'],
    summary: 'Get what every caller may know about this installation',
    response: { 200: responseBody('The installation', { installation: Installation }), ...errors() },
  },
};
