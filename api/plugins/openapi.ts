import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';

const TAGS = [
  { name: 'AuthService', description: 'Who a caller is, and API keys' },
  { name: 'AuditService', description: 'Who did what' },
  { name: 'ProviderService', description: 'AWS accounts and the role that polony assumes in them' },
  { name: 'IamDocumentService', description: "What a customer's IAM is to grant, and what a policy would give" },
  { name: 'StorageConnectionService', description: 'Buckets that instruments upload to' },
  { name: 'ComputeConnectionService', description: 'AWS HealthOmics in an account and region' },
  { name: 'FlowService', description: 'The shared Bases2Fastq workflow, and the runs that it starts for by itself' },
  { name: 'RunService', description: 'What instruments have produced' },
  { name: 'InstrumentService', description: 'Instruments, as runs have shown them' },
  { name: 'ExecutionService', description: 'Flows applied to runs' },
  { name: 'EventService', description: 'What EventBridge tells' },
  { name: 'WebhookService', description: 'Where events are told' },
  { name: 'Health', description: 'For load balancers and container engines' },
];

const DESCRIPTION = `polony takes sequencing runs of Element AVITI instruments in S3 through Bases2Fastq on AWS HealthOmics.

Every route but \`/healthz\` and \`/readyz\` needs an API key in the header \`x-api-key\`, or a token of the installation's provider of identities as \`Authorization: Bearer\`; for this page and \`/openapi.json\` the key may also be the password of HTTP Basic. A key's scopes say what it may do; what it may not see is not there for it.

Errors have one shape. A field that breaks a rule is a detail with reason \`INVALID_FIELD\`, the field's name in \`metadata.field\`, the rule in \`metadata.rule\` and the sentence in \`metadata.description\`; all that can be told from a body is told at once. \`metadata.request_id\` is the answer's \`X-Request-ID\`.

A POST that creates, and a cancel, take an \`Idempotency-Key\`: for 24 hours the same request with the same key is answered as the first was, with \`Idempotency-Replayed: true\`.

Lists are read on with \`nextPageToken\` as \`pageToken\` until it is empty. Operations that the vendor publishes are shaped as there; what is polony's own stands at \`…/details\`.`;

interface BodySchema {
  'x-optional'?: boolean;
}

/** The OpenAPI document, made of the routes' schemas, at `/openapi.json`, and a readable page of it at `/docs`. Before any route. */
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
        },
      },
      security: [{ apiKey: [] }, { bearer: [] }],
    },
    refResolver: {
      buildLocalReference: (schema, _baseUri, _fragment, index) =>
        typeof schema.$id === 'string' ? schema.$id : `schema${index}`,
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject;
      const { openapiObject } = document;
      for (const path of Object.values(openapiObject.paths ?? {})) {
        for (const operation of Object.values(
          (path ?? {}) as Record<
            string,
            {
              requestBody?: { required?: boolean; content: Record<string, { schema?: BodySchema }> };
              responses?: Record<string, { content?: unknown }>;
            }
          >,
        )) {
          const schema = operation.requestBody?.content['application/json']?.schema;
          if (operation.requestBody !== undefined && schema !== undefined) {
            operation.requestBody.required = schema['x-optional'] !== true;
            delete schema['x-optional'];
          }
          // A deletion answers without a body.
          if (operation.responses?.['204'] !== undefined) delete operation.responses['204'].content;
        }
      }
      // Components are known by their names here; $id would make their references relative to it.
      for (const schema of Object.values(openapiObject.components?.schemas ?? {}))
        delete (schema as { $id?: string }).$id;
      return openapiObject;
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // Nothing from elsewhere: the page must work where there is no internet, and must not be able to send the key away.
    staticCSP:
      "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    uiConfig: { docExpansion: 'list', persistAuthorization: true },
  });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}
