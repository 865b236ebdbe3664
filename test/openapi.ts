import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';

/** The parts of an OpenAPI document that the tests use. */
export interface OpenApi {
  openapi: string;
  security?: Record<string, string[]>[];
  tags?: { name: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: Record<string, unknown> };
}
export interface Operation {
  operationId: string;
  summary?: string;
  tags?: string[];
  security?: unknown[];
  parameters?: { name: string; in: string; schema: { type?: string } }[];
  requestBody?: {
    required: boolean;
    content: Record<string, { schema: object; example?: unknown; examples?: unknown }>;
  };
  responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
}

/** Compiles schemas of a document; its `$ref`s resolve within it. */
export function compilerOf(document: OpenApi): (schema: object) => ValidateFunction {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  (addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
  ajv.addSchema({ $id: 'document', components: document.components });
  const rewrite = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(rewrite)
      : typeof value === 'object' && value !== null
        ? Object.fromEntries(
            Object.entries(value).map(([key, member]) => [
              key,
              key === '$ref' && typeof member === 'string' ? member.replace(/^#/, 'document#') : rewrite(member),
            ]),
          )
        : value;
  return (schema) => ajv.compile(rewrite(schema) as object);
}

/** Checks answers against the schema that a document has for their operation and status. */
export function answerChecker(
  document: OpenApi,
): (method: string, url: string, status: number, body: unknown) => string[] {
  const compile = compilerOf(document);
  const known = new Map<string, ValidateFunction>();
  const paths = Object.entries(document.paths).map(([template, operations]) => ({
    pattern: new RegExp(`^${template.replace(/\{[^}]+\}/g, '[^/]+')}$`),
    template,
    operations,
  }));
  return (method, url, status, body) => {
    const at = paths.find(({ pattern }) => pattern.test(url.split('?')[0]!));
    const operation = at?.operations[method.toLowerCase()];
    if (at === undefined || operation === undefined)
      return status === 404 || status === 405 || status === 401 ? [] : [`${method} ${url} is not in the document`];
    const response = operation.responses[String(status)];
    if (response === undefined) return [`${operation.operationId} does not name the status ${status}`];
    const schema = response.content?.['application/json']?.schema;
    if (schema === undefined)
      return body === undefined ? [] : [`${operation.operationId} ${status} should have no body`];
    const key = `${operation.operationId} ${status}`;
    const validate = known.get(key) ?? compile(schema);
    known.set(key, validate);
    return validate(body)
      ? []
      : (validate.errors ?? []).map(
          (error) => `${key}: ${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`,
        );
  };
}

/** Members of a schema that decide which values it allows, unlike descriptions and examples. */
const MEANINGFUL = ['$ref', 'type', 'enum', 'const', 'format', 'required', 'additionalProperties'] as const;

function reduceSchema(schema: Record<string, unknown>): Record<string, unknown> {
  const reduced: Record<string, unknown> = {};
  for (const name of MEANINGFUL) {
    const value = schema[name];
    if (value === undefined) continue;
    reduced[name] = name === 'additionalProperties' && typeof value === 'object' ? reduceSchema(value as never) : value;
  }
  if (schema.items !== undefined) reduced.items = reduceSchema(schema.items as never);
  for (const name of ['oneOf', 'anyOf', 'allOf'] as const)
    if (schema[name] !== undefined) reduced[name] = (schema[name] as never[]).map(reduceSchema);
  if (schema.properties !== undefined)
    reduced.properties = Object.fromEntries(
      Object.entries(schema.properties as Record<string, never>).map(([name, each]) => [name, reduceSchema(each)]),
    );
  return reduced;
}

/**
 * Reduces the vendor's contract to the parts that tests compare with our API: operations with their parameters, and the
 * members and types of their answers. test/fixtures/contract.json holds the result, so that these tests run everywhere.
 */
export function reduceContract({ openapi, paths, components }: OpenApi): OpenApi {
  return {
    openapi,
    paths: Object.fromEntries(
      Object.entries(paths).map(([path, methods]) => [
        path,
        Object.fromEntries(
          Object.entries(methods).map(([method, { operationId, tags, parameters, responses }]) => [
            method,
            {
              operationId,
              tags,
              ...(parameters !== undefined && {
                parameters: parameters.map(({ name, in: where, schema, ...each }) => ({
                  name,
                  in: where,
                  ...('required' in each && { required: each.required }),
                  schema: { type: schema.type },
                })),
              }),
              responses: Object.fromEntries(
                Object.entries(responses).map(([status, { content }]) => [
                  status,
                  {
                    description: '',
                    content: {
                      'application/json': { schema: reduceSchema(content!['application/json']!.schema as never) },
                    },
                  },
                ]),
              ),
            },
          ]),
        ),
      ]),
    ),
    components: {
      schemas: Object.fromEntries(
        Object.entries(components.schemas).map(([name, schema]) => [name, reduceSchema(schema as never)]),
      ),
      securitySchemes: {},
    },
  };
}

/** The whole contract of the vendor, if a copy lies beside the repository. */
export function wholeContract(): OpenApi | undefined {
  const file = path.join(
    path.dirname(fileURLToPath(import.meta.url)),
    '../../shared/contract/elembio-cloud-v1.openapi.yaml',
  );
  return existsSync(file) ? (parse(readFileSync(file, 'utf8')) as OpenApi) : undefined;
}

/** The part of the vendor's contract that the tests need. */
export function fixedContract(): OpenApi {
  return JSON.parse(readFileSync(new URL('./fixtures/contract.json', import.meta.url), 'utf8')) as OpenApi;
}

/** The whole contract of the vendor if there is a copy, else the part that the tests need. */
export const vendorContract = (): OpenApi => wholeContract() ?? fixedContract();
