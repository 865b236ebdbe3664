import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { BODY_SIZE } from './limits.js';

const TAGS = [
  { name: 'AuthService', description: 'Callers and API keys' },
  { name: 'SessionService', description: 'Sessions of browsers' },
  { name: 'InstallationService', description: 'This installation of polony' },
  { name: 'AuditService', description: 'The audit log' },
  { name: 'ProviderService', description: 'AWS accounts, and the credentials that polony uses there' },
  { name: 'IamDocumentService', description: 'IAM policies for AWS accounts, and what an existing policy grants' },
  { name: 'StorageConnectionService', description: 'Buckets that instruments upload to' },
  { name: 'ComputeConnectionService', description: 'AWS HealthOmics in an account and region' },
  {
    name: 'FlowService',
    description: 'The shared Bases2Fastq workflow, and the runs that it starts for automatically',
  },
  { name: 'RunService', description: 'Runs that instruments uploaded' },
  { name: 'InstrumentService', description: 'Instruments, as far as their runs show them' },
  { name: 'ExecutionService', description: 'Flows applied to runs' },
  { name: 'ChangeService', description: 'What changes, as one stream' },
  { name: 'EventService', description: 'Events from EventBridge' },
  { name: 'WebhookService', description: 'URLs that polony sends events to' },
  { name: 'Health', description: 'For load balancers and container engines' },
];

const DESCRIPTION = [
  ['polony runs Bases2Fastq on AWS HealthOmics for sequencing runs that Element AVITI instruments upload to S3.'],
  ['## Authentication'],
  [
    'Send an API key in the header `x-api-key`, or a token of your identity provider in `Authorization: Bearer`.',
    'A browser can sign in at `/v1/session` instead, and sends a cookie from then on. Requests of such a session that',
    'change something need the header `x-csrf-token`, and those of other origins are rejected.',
    '`/healthz` and `/readyz` need none of this. This page and `/openapi.json` do not either, unless the administrator',
    'of polony closed them: then a browser can send the key as the password of HTTP Basic. The scopes of a key define',
    'what it may do. For a key, resources that it may not see do not exist.',
  ],
  ['## Errors'],
  [
    'All errors have the same shape. Each invalid field is a detail with the reason `INVALID_FIELD`, the field in',
    '`metadata.field`, the rule in `metadata.rule` and an explanation in `metadata.description`. One response reports',
    'all invalid fields. `metadata.request_id` is the `X-Request-ID` of the response.',
  ],
  ['## Repeated requests'],
  [
    'Creations and cancellations accept an `Idempotency-Key`. For 24 hours, repeating the request with the same key',
    'returns the first response with `Idempotency-Replayed: true`.',
  ],
  ['## Limits'],
  [
    'Each text and list has a limit in its schema. A body has at most',
    `${BODY_SIZE.values.toLocaleString('en-US')} values and ${BODY_SIZE.depth} levels; a text counts as one value.`,
  ],
  ['## Lists'],
  [
    'To read the next page, send `nextPageToken` as `pageToken`. It is empty on the last page. In filters, unknown',
    'values never match `:` and always match `!=`.',
  ],
  ["## The vendor's contract"],
  [
    "Operations that the vendor publishes have the shape of the vendor's contract. What polony adds is at",
    '`…/details`.',
  ],
]
  .map((sentences) => sentences.join(' '))
  .join('\n\n');

/** No content from other origins: the page works without internet access, and cannot send the key anywhere else. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

/**
 * Adds the OpenAPI document, made from the schemas of the routes, at `/openapi.json`, and a page that shows it at
 * `/docs`. Call it before routes are added.
 */
export async function addOpenApi(app: FastifyInstance, publicUrl: string | undefined): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'polony',
        version: '1.0.0',
        description: DESCRIPTION,
        license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
      },
      servers: [{ url: publicUrl ?? '/' }],
      tags: TAGS,
      components: {
        securitySchemes: {
          apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: 'An API key' },
          bearer: {
            type: 'http',
            scheme: 'bearer',
            description: "A token of the installation's OpenID Connect provider",
          },
          session: {
            type: 'apiKey',
            in: 'cookie',
            name: '__Host-polony_session',
            description:
              'The session of a browser. Without TLS, on the same machine, its name is `polony_session` with the port, ' +
              'such as `polony_session_8080`',
          },
        },
      },
      security: [{ apiKey: [] }, { bearer: [] }, { session: [] }],
    },
    refResolver: {
      buildLocalReference: (schema, _baseUri, _fragment, index) =>
        typeof schema.$id === 'string' ? schema.$id : `schema${index}`,
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject;
      finishDocument(document.openapiObject as unknown as GeneratedDocument);
      return document.openapiObject;
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: CONTENT_SECURITY_POLICY,
    // The key of a reader stays in the memory of the page, and out of the storage of the browser.
    uiConfig: { docExpansion: 'list', persistAuthorization: false },
  });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}

interface Operation {
  requestBody?: { required?: boolean; content: Record<string, { schema?: { 'x-optional'?: boolean } }> };
  responses?: Record<string, { content?: unknown }>;
}
interface GeneratedDocument {
  paths?: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, { $id?: string }> };
}

/** Corrects what the generator cannot know. */
function finishDocument({ paths = {}, components }: GeneratedDocument): void {
  for (const operation of Object.values(paths).flatMap((path) => Object.values(path))) {
    const schema = operation.requestBody?.content['application/json']?.schema;
    if (operation.requestBody !== undefined && schema !== undefined) {
      operation.requestBody.required = schema['x-optional'] !== true;
      delete schema['x-optional'];
    }
    // They have no body.
    for (const status of ['204', '302']) delete operation.responses?.[status]?.content;
  }
  // References name a component by its key. With $id they would be relative to it.
  for (const schema of Object.values(components?.schemas ?? {})) delete schema.$id;
}
