/**
 * The part of AWS's service model for `omics` that the emulator serves, with the patterns in the model's own words.
 * test/stack/emulator.test.ts compares it with the model that botocore carries.
 */

/** The model of a value; `in` is its place in a request (default: the body). */
export interface Shape {
  type: 'string' | 'integer' | 'boolean' | 'structure' | 'document' | 'map' | 'list';
  in?: 'uri' | 'querystring';
  min?: number;
  max?: number;
  pattern?: string;
  values?: readonly string[];
  members?: Record<string, Shape>;
  member?: Shape;
  key?: Shape;
  value?: Shape;
}

export interface Operation {
  method: 'GET' | 'POST';
  uri: string;
  /** HTTP status of success. */
  status: number;
  required: readonly string[];
  members: Record<string, Shape>;
}

/** An error response as HealthOmics sends it. */
export class OmicsError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export const invalid = (message: string): OmicsError => new OmicsError(400, 'ValidationException', message);
export const notFound = (what: string): OmicsError =>
  new OmicsError(404, 'ResourceNotFoundException', `The specified ${what} does not exist`);

/** Who calls an operation, as ministack has authenticated them. */
export interface Caller {
  accountId: string;
  region: string;
  /** The ARN of the caller's user or role session. */
  principal: string;
}

const TEXT = '[\\p{L}||\\p{M}||\\p{Z}||\\p{S}||\\p{N}||\\p{P}]+';
const NAME = '[A-Za-z0-9][A-Za-z0-9\\-\\._]*';
const text = (max: number, pattern = TEXT): Shape => ({ type: 'string', min: 1, max, pattern });
const oneOf = (...values: string[]): Shape => ({ type: 'string', min: 1, max: 64, values });
const plainOneOf = (...values: string[]): Shape => ({ type: 'string', values });
const number = (min?: number, max?: number): Shape => ({
  type: 'integer',
  ...(min !== undefined && { min }),
  ...(max !== undefined && { max }),
});
const listOf = (member: Shape, min: number, max: number): Shape => ({ type: 'list', min, max, member });
const inUri = (shape: Shape): Shape => ({ ...shape, in: 'uri' });
const inQuery = (shape: Shape): Shape => ({ ...shape, in: 'querystring' });

const ID = text(18, '[0-9]+');
const OWNER: Shape = { type: 'string', pattern: '[0-9]{12}' };
const WORKFLOW_TYPE = oneOf('PRIVATE', 'READY2RUN');
const STRING: Shape = { type: 'string' };

export const OPERATIONS = {
  StartRun: {
    method: 'POST',
    uri: '/run',
    status: 201,
    required: ['roleArn', 'outputUri', 'requestId'],
    members: {
      workflowId: ID,
      workflowType: WORKFLOW_TYPE,
      runId: ID,
      roleArn: text(128, 'arn:.+'),
      name: text(128),
      cacheId: ID,
      cacheBehavior: oneOf('CACHE_ON_FAILURE', 'CACHE_ALWAYS'),
      runGroupId: ID,
      priority: number(0, 100_000),
      parameters: { type: 'document' },
      parametersUri: text(1093, 's3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+'),
      storageCapacity: number(0, 100_000),
      outputUri: text(750),
      outputUriPrefixMode: plainOneOf('SERVICE_DEFINED', 'NONE_WITH_OVERWRITE'),
      logLevel: oneOf('OFF', 'FATAL', 'ERROR', 'ALL'),
      tags: { type: 'map', key: { type: 'string', min: 1, max: 128 }, value: { type: 'string', min: 0, max: 256 } },
      requestId: text(128),
      requesterPaysEnabled: { type: 'boolean' },
      retentionMode: oneOf('RETAIN', 'REMOVE'),
      storageType: oneOf('STATIC', 'DYNAMIC'),
      workflowOwnerId: OWNER,
      workflowVersionName: text(64, NAME),
      networkingMode: plainOneOf('RESTRICTED', 'VPC'),
      scratchStorageMode: oneOf('LOCAL', 'SHARED'),
      configurationName: text(128, NAME),
      sessionPolicy: text(2048, '[\\p{L}\\p{M}\\p{Z}\\p{S}\\p{N}\\p{P}\\t\\n\\r]+'),
      engineSettings: { type: 'document' },
    },
  },
  GetRun: {
    method: 'GET',
    uri: '/run/{id}',
    status: 200,
    required: ['id'],
    members: { id: inUri(ID), export: inQuery(listOf(oneOf('DEFINITION'), 0, 32)) },
  },
  CancelRun: { method: 'POST', uri: '/run/{id}/cancel', status: 202, required: ['id'], members: { id: inUri(ID) } },
  ListRuns: {
    method: 'GET',
    uri: '/run',
    status: 200,
    required: [],
    members: {
      name: inQuery(text(128)),
      runGroupId: inQuery(ID),
      batchId: inQuery(ID),
      startingToken: inQuery(text(128)),
      maxResults: inQuery(number(1, 100)),
      status: inQuery(
        oneOf('PENDING', 'STARTING', 'RUNNING', 'STOPPING', 'COMPLETED', 'DELETED', 'CANCELLED', 'FAILED'),
      ),
    },
  },
  GetWorkflow: {
    method: 'GET',
    uri: '/workflow/{id}',
    status: 200,
    required: ['id'],
    members: {
      id: inUri(ID),
      type: inQuery(WORKFLOW_TYPE),
      export: inQuery(listOf(oneOf('DEFINITION', 'README'), 0, 32)),
      workflowOwnerId: inQuery(OWNER),
    },
  },
  ListShares: {
    method: 'POST',
    uri: '/shares',
    status: 200,
    required: ['resourceOwner'],
    members: {
      resourceOwner: plainOneOf('SELF', 'OTHER'),
      filter: {
        type: 'structure',
        members: {
          resourceArns: listOf(STRING, 1, 10),
          status: listOf(plainOneOf('PENDING', 'ACTIVATING', 'ACTIVE', 'DELETING', 'DELETED', 'FAILED'), 1, 10),
          type: listOf(plainOneOf('VARIANT_STORE', 'ANNOTATION_STORE', 'WORKFLOW'), 1, 10),
        },
      },
      nextToken: inQuery(STRING),
      maxResults: inQuery(number()),
    },
  },
  AcceptShare: {
    method: 'POST',
    uri: '/share/{shareId}',
    status: 200,
    required: ['shareId'],
    members: { shareId: inUri(STRING) },
  },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;

const ROUTES = Object.entries(OPERATIONS).map(([name, operation]) => ({
  name: name as OperationName,
  method: operation.method,
  path: new RegExp(`^${operation.uri.replace(/\{(\w+)\}/, '(?<$1>[^/]+)')}/?$`),
}));

/** The operation of a request, and the parameters in its path. */
export function routeOf(
  method: string,
  pathname: string,
): { name: OperationName; path: Record<string, string> } | undefined {
  for (const route of ROUTES) {
    const match = route.method === method && route.path.exec(pathname);
    if (match)
      return {
        name: route.name,
        path: Object.fromEntries(
          Object.entries(match.groups ?? {}).map(([key, value]) => [key, decodeURIComponent(value)]),
        ),
      };
  }
  return undefined;
}

/** The constraints that a value violates, in the words that AWS uses. */
function violations(at: string, shape: Shape, value: unknown): string[] {
  const failed = (rule: string): string[] => {
    const shown = typeof value === 'string' ? `'${value}'` : JSON.stringify(value);
    return [`Value ${shown} at '${at}' failed to satisfy constraint: Member must ${rule}`];
  };
  const within = (size: number, what: 'length' | 'value'): string[] => {
    if (shape.min !== undefined && size < shape.min)
      return failed(`have ${what} greater than or equal to ${shape.min}`);
    if (shape.max !== undefined && size > shape.max) return failed(`have ${what} less than or equal to ${shape.max}`);
    return [];
  };
  if (shape.type === 'string') {
    if (typeof value !== 'string') return failed('be a string');
    if (shape.values !== undefined && !shape.values.includes(value))
      return failed(`satisfy enum value set: [${shape.values.join(', ')}]`);
    // The model's lengths count characters, not UTF-16 units.
    const length = within([...value].length, 'length');
    if (length.length > 0 || shape.pattern === undefined || new RegExp(`^(?:${shape.pattern})$`, 'u').test(value))
      return length;
    return failed(`satisfy regular expression pattern: ${shape.pattern}`);
  }
  if (shape.type === 'integer')
    return Number.isInteger(value) ? within(value as number, 'value') : failed('be an integer');
  if (shape.type === 'boolean') return typeof value === 'boolean' ? [] : failed('be a boolean');
  if (shape.type === 'list')
    return Array.isArray(value)
      ? [
          ...within(value.length, 'length'),
          ...value.flatMap((each, index) => violations(`${at}.${index + 1}.member`, shape.member!, each)),
        ]
      : failed('be a list');
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return failed('be an object');
  const entries = Object.entries(value as Record<string, unknown>);
  if (shape.type === 'map')
    return entries.flatMap(([key, each]) => [
      ...violations(`${at}.key`, shape.key!, key),
      ...violations(`${at}.${key}.value`, shape.value!, each),
    ]);
  return entries.flatMap(([name, each]) =>
    shape.members?.[name] === undefined || each === null ? [] : violations(`${at}.${name}`, shape.members[name], each),
  );
}

/**
 * Reads the input of an operation from a request's path, query and body. Like AWS, it ignores unknown members.
 * @throws OmicsError when the input violates a constraint of the model.
 */
export function inputOf(
  name: OperationName,
  path: Record<string, string>,
  query: URLSearchParams,
  body: Record<string, unknown>,
): Record<string, unknown> {
  const { required, members } = OPERATIONS[name] as Operation;
  const input: Record<string, unknown> = {};
  const found: string[] = [];
  for (const [member, shape] of Object.entries(members)) {
    let value: unknown;
    if (shape.in === 'uri') value = path[member];
    else if (shape.in !== 'querystring') value = body[member];
    else if (query.has(member)) {
      const text = query.get(member)!;
      value =
        shape.type === 'list'
          ? query.getAll(member)
          : shape.type === 'integer' && /^-?\d+$/.test(text)
            ? Number(text)
            : text;
    }
    if (value === undefined || value === null) {
      if (required.includes(member))
        found.push(`Value null at '${member}' failed to satisfy constraint: Member must not be null`);
      continue;
    }
    input[member] = value;
    found.push(...violations(member, shape, value));
  }
  if (found.length > 0)
    throw invalid(`${found.length} validation error${found.length > 1 ? 's' : ''} detected: ${found.join('; ')}`);
  return input;
}
