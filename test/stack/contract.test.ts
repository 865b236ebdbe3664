import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildApp } from '../../api/app.js';
import { fixedContract, type OpenApi, reduceContract, vendorContract, wholeContract } from '../openapi.js';

/** The parts of a schema that the comparison reads. */
interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  oneOf?: Schema[];
  anyOf?: Schema[];
}
interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  schema: Schema;
}

const vendor = vendorContract();
let ours: OpenApi;

beforeAll(async () => {
  const nothing = new Proxy({}, { get: () => undefined }) as never;
  const app = await buildApp({
    db: nothing,
    databaseUrl: '',
    secrets: nothing,
    aws: nothing,
    orchestrator: nothing,
    apiKey: 'not-used-for-any-request',
    errorDomain: 'polony',
  });
  ours = structuredClone(app.swagger()) as unknown as OpenApi;
  await app.close();
});
afterAll(() => undefined);

const resolve = (document: OpenApi, schema: Schema): Schema =>
  schema.$ref === undefined
    ? schema
    : resolve(document, document.components.schemas[schema.$ref.split('/').pop()!] as Schema);
const typesOf = (schema: Schema): string[] => (schema.type === undefined ? [] : [schema.type].flat());

/** The schemas that a value may have, each without null, and whether it may be null. */
function alternatives(document: OpenApi, schema: Schema): { each: Schema[]; nullable: boolean } {
  const found = resolve(document, schema);
  const inner = found.oneOf ?? found.anyOf;
  // An object whose alternatives differ only in required members counts as one object with all of their members.
  if (inner !== undefined && found.type === 'object') {
    const properties = Object.assign(
      {},
      found.properties,
      ...inner.map((each) => resolve(document, each).properties),
    ) as Record<string, Schema>;
    return { each: [{ type: 'object', properties, additionalProperties: false }], nullable: false };
  }
  if (inner !== undefined) {
    const parts = inner.map((each) => alternatives(document, each));
    return { each: parts.flatMap(({ each }) => each), nullable: parts.some(({ nullable }) => nullable) };
  }
  const types = typesOf(found);
  return {
    each:
      types.length === 1 && types[0] === 'null' ? [] : [{ ...found, type: types.filter((type) => type !== 'null') }],
    nullable: types.includes('null'),
  };
}

/** The places where our schema allows an answer that the vendor's schema does not allow. */
function wider(our: Schema, their: Schema, at: string): string[] {
  const [mine, theirs] = [alternatives(ours, our), alternatives(vendor, their)];
  const problems: string[] = [];
  if (mine.nullable && !theirs.nullable) problems.push(`${at} may be null`);
  for (const one of mine.each) {
    const found = theirs.each.map((other) => widerThan(one, other, at)).sort((a, b) => a.length - b.length)[0] ?? [
      `${at} has no such value`,
    ];
    problems.push(...found);
  }
  return problems;
}

function widerThan(our: Schema, their: Schema, at: string): string[] {
  const [types, allowed] = [typesOf(our), typesOf(their)];
  const bad = types.filter((type) => !allowed.includes(type) && !(type === 'integer' && allowed.includes('number')));
  if (types.length === 0 || bad.length > 0)
    return [`${at} is ${types.join('|') || 'anything'}, not ${allowed.join('|')}`];
  if (their.enum !== undefined && (our.enum === undefined || our.enum.some((value) => !their.enum!.includes(value))))
    return [`${at} has values beyond ${their.enum.join(', ')}`];
  if (their.format === 'date-time' && our.format !== 'date-time') return [`${at} is no date-time`];
  if (types.includes('array')) return wider(our.items ?? {}, their.items ?? {}, `${at}[]`);
  if (!types.includes('object')) return [];
  const problems: string[] = [];
  if (their.additionalProperties === false && our.additionalProperties !== false)
    problems.push(`${at} may have further members`);
  for (const [name, schema] of Object.entries(our.properties ?? {})) {
    const other = their.properties?.[name];
    if (other === undefined)
      problems.push(...(their.additionalProperties === false ? [`${at}.${name} is not in the contract`] : []));
    else problems.push(...wider(schema, other, `${at}.${name}`));
  }
  for (const name of their.required ?? [])
    if (!(our.required ?? []).includes(name)) problems.push(`${at}.${name} may lack`);
  return problems;
}

describe("the vendor's contract", () => {
  const operations = Object.entries(vendor.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      path,
      method,
      operation,
      name: `${method.toUpperCase()} ${path}`,
    })),
  );
  const whole = wholeContract();

  it.skipIf(whole === undefined)('matches the fixture', () => {
    expect(reduceContract(whole!)).toEqual(fixedContract());
  });
  it('has 16 operations, all of them reads', () => {
    expect(operations.map(({ method }) => method)).toEqual(operations.map(() => 'get'));
    expect(operations).toHaveLength(16);
  });
  it.each(operations.map((each) => [each.name, each] as const))(
    '%s exists with the same parameters, and its answers stay within the contract',
    (_name, { path, method, operation: theirs }) => {
      const mine = ours.paths[path]?.[method];
      expect(mine).toBeDefined();
      expect([mine!.operationId, mine!.tags]).toEqual([theirs.operationId, theirs.tags]);
      const parameters = (each: typeof theirs): string[] =>
        ((each.parameters ?? []) as unknown as Parameter[])
          // polony's own, and optional.
          .filter(({ name }) => name !== 'orderBy')
          .map(
            (parameter) =>
              `${parameter.in} ${parameter.name} ${typesOf(parameter.schema).join('|')} ${parameter.required === true}`,
          )
          .sort();
      expect(parameters(mine!)).toEqual(parameters(theirs));
      for (const status of Object.keys(theirs.responses)) {
        expect([status, mine!.responses[status] !== undefined || status === '404']).toEqual([status, true]);
        const [our, their] = [
          mine!.responses[status]?.content?.['application/json']?.schema,
          theirs.responses[status]!.content!['application/json']!.schema,
        ];
        // The error domain differs by default, so only successful answers are compared here.
        if (our !== undefined && status === '200') expect(wider(our as Schema, their as Schema, status)).toEqual([]);
      }
      // These statuses are ours only: the request limit, and parts that are unreachable.
      expect(
        Object.keys(mine!.responses)
          .filter((status) => theirs.responses[status] === undefined)
          .sort(),
      ).toEqual(['429', '503']);
    },
  );
  it('allows every error body that polony sends', () => {
    const error = ours.components.schemas.Error as Schema;
    const problems = wider(error, vendor.components.schemas.Error as Schema, 'error');
    expect(problems).toEqual([]);
  });
  it('is compared by a check that finds wider schemas', () => {
    const their: Schema = {
      type: 'object',
      additionalProperties: false,
      properties: {
        a: { type: 'string', enum: ['x'] },
        b: { type: 'integer' },
        c: { oneOf: [{ type: 'string', format: 'date-time' }, { type: 'null' }] },
      },
    };
    const of = (properties: Record<string, Schema>): string[] =>
      wider({ type: 'object', additionalProperties: false, properties }, their, 'it');
    expect(
      of({
        a: { type: 'string', enum: ['x'] },
        b: { type: 'integer' },
        c: { type: ['string', 'null'], format: 'date-time' },
      }),
    ).toEqual([]);
    expect(of({ a: { type: 'string', enum: ['x', 'y'] } })).toEqual(['it.a has values beyond x']);
    expect(of({ a: { type: 'string' } })).toEqual(['it.a has values beyond x']);
    expect(of({ b: { type: 'number' } })).toEqual(['it.b is number, not integer']);
    expect(of({ b: { type: ['integer', 'null'] } })).toEqual(['it.b may be null']);
    expect(of({ c: { type: 'string' } })).toEqual(['it.c is no date-time']);
    expect(of({ d: { type: 'string' } })).toEqual(['it.d is not in the contract']);
    expect(wider({ type: 'object' }, their, 'it')).toEqual(['it may have further members']);
  });
});
