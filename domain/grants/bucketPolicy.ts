/**
 * Edits bucket policies for grants (the vendor's page, "Sharing Data Through Bucket Policies"). polony adds, replaces
 * and removes only its own statements. It keeps the text of all others.
 */
import { parseArn } from '../arn.js';
import type { FieldProblem } from '../errors.js';

/** Beginning of Sids, before the principal's ARN. Sids of bucket policies allow all characters, unlike those of IAM. */
const SID_PREFIX = 'ElemBio_BucketReadAccess_';
/** Largest bucket policy that S3 accepts, in bytes (S3 User Guide, "Policies and permissions in Amazon S3": 20 KB). */
export const POLICY_LIMIT = 20 * 1024;

/** A principal after its check. Either there are problems, or there is an ARN. */
export interface CheckedPrincipal {
  problems: FieldProblem[];
  arn?: string;
}

/**
 * Parses a principal: the ARN of an IAM role or user, or an account as 12 digits or `arn:…:root` (IAM User Guide, "AWS
 * JSON policy elements: Principal"). It rejects principals that would share with everybody, and temporary ones.
 * @param partition of the bucket
 */
export function readPrincipal(field: string, value: string, partition: string): CheckedPrincipal {
  const text = value.trim();
  const refused = (rule: string, message: string): CheckedPrincipal => ({ problems: [{ field, rule, message }] });
  if (/^\d{12}$/.test(text)) return { problems: [], arn: `arn:${partition}:iam::${text}:root` };
  if (/[*?]|\$\{/.test(text))
    return refused(
      'PRINCIPAL_WILDCARD',
      'must be one role, user or account, because *, ? and ${ would share the bucket with others, or with everybody',
    );
  if (/^A[A-Z]{3}[A-Z0-9]{12,}$/.test(text))
    return refused('PRINCIPAL_UNIQUE_ID', 'must be an ARN, not the unique ID of a role or user');
  const arn = parseArn(text);
  if (arn?.service === 'sts') {
    const role = /^assumed-role\/([^/]+)\//.exec(arn.resource)?.[1];
    return refused(
      'PRINCIPAL_SESSION',
      'must not be a session, because sessions expire. ' +
        (role === undefined
          ? 'Give the user or role.'
          : `Give the role with its path, such as arn:${arn.partition}:iam::${arn.account}:role/${role}.`),
    );
  }
  if (arn?.service === 'iam' && arn.region === '' && /^group\//.test(arn.resource))
    return refused(
      'PRINCIPAL_GROUP',
      'must not be a group, because AWS does not accept groups as principals. Share with the users or with a role.',
    );
  const valid =
    arn?.service === 'iam' &&
    arn.region === '' &&
    arn.account !== '' &&
    /^(root|(role|user)\/([\x21-\x7e]{1,510}\/)?[\w+=,.@-]{1,64})$/.test(arn.resource) &&
    !/\/\//.test(arn.resource);
  if (!valid)
    return refused(
      'PRINCIPAL_ARN',
      `must be the ARN of an IAM role or user, such as arn:${partition}:iam::111122223333:role/Analysis, ` +
        `or an account: its 12 digits, or arn:${partition}:iam::111122223333:root`,
    );
  if (arn.partition !== partition)
    return refused(
      'PRINCIPAL_PARTITION',
      `must be in the bucket's partition ${partition}: AWS does not share across partitions`,
    );
  return { problems: [], arn: text };
}

/** Who may read what in a bucket. */
export interface Grant {
  id: string;
  bucket: string;
  partition: string;
  /** ARN. */
  principal: string;
  /** Prefix of the keys, with a slash at the end; null for the whole bucket. */
  folder: string | null;
  /** When AWS stops allowing access, even if the statement remains. */
  expires: Date | null;
}

/** A statement that polony writes. */
export interface GrantStatement {
  Sid: string;
  Effect: 'Allow';
  Principal: { AWS: string };
  Action: string[];
  Resource: string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}

/**
 * The statements of a grant. For the whole bucket it is the statement of the vendor's page, with its Sid. For a folder,
 * listing needs a condition that reading does not have, so there are two statements. Their Sids contain the grant's id,
 * because a principal may have several folders.
 */
export function grantStatements({ id, bucket, partition, principal, folder, expires }: Grant): GrantStatement[] {
  const sid = `${SID_PREFIX}${principal}`;
  const arn = `arn:${partition}:s3:::${bucket}`;
  // IAM expects W3C's format, without fractions of seconds.
  const until: NonNullable<GrantStatement['Condition']> =
    expires === null ? {} : { DateLessThan: { 'aws:CurrentTime': expires.toISOString().replace(/\.\d+Z$/, 'Z') } };
  const statement = (
    Sid: string,
    Action: string[],
    Resource: string[],
    condition: GrantStatement['Condition'] = {},
  ): GrantStatement => {
    const Condition = { ...condition, ...until };
    return {
      Sid,
      Effect: 'Allow',
      Principal: { AWS: principal },
      Action,
      Resource,
      ...(Object.keys(Condition).length > 0 && { Condition }),
    };
  };
  if (folder === null)
    return [statement(sid, ['s3:GetObject', 's3:ListBucket', 's3:GetBucketLocation'], [arn, `${arn}/*`])];
  return [
    statement(`${sid}:${id}:Read`, ['s3:GetObject', 's3:GetBucketLocation'], [arn, `${arn}/${folder}*`]),
    statement(`${sid}:${id}:List`, ['s3:ListBucket'], [arn], { StringLike: { 's3:prefix': [`${folder}*`] } }),
  ];
}

/** The Sids of a grant. */
export function grantSids(grant: Grant): string[] {
  return grantStatements(grant).map(({ Sid }) => Sid);
}

/** polony cannot edit a bucket's policy, because it is not a valid policy. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
}

/** A statement of a policy: its text, and the parsed value. */
interface PolicyStatement {
  text: string;
  value: Record<string, unknown>;
}

/** A bucket's policy in parts that together are the whole text. */
export interface BucketPolicy {
  /** The text before and after the statements. */
  before: string;
  after: string;
  statements: PolicyStatement[];
}

/** The end of a JSON value that begins at `start`. The text must be valid JSON. */
function endOfValue(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const char = text[at]!;
    if (char === '"') {
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++;
      if (depth === 0) return at + 1;
    } else if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') {
      // The end of the object or array that contains a number or word.
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (depth === 0 && (char === ',' || /\s/.test(char))) return at;
  }
  return text.length;
}

/** The members of an object or array: the key, and where the value begins and ends. */
function* membersOf(text: string, start: number): Generator<{ key: string; from: number; to: number }> {
  const object = text[start] === '{';
  for (let at = start + 1; ;) {
    while (/[\s,:]/.test(text[at]!)) at++;
    if (text[at] === '}' || text[at] === ']') return;
    let key = '';
    if (object) {
      const end = endOfValue(text, at);
      key = JSON.parse(text.slice(at, end)) as string;
      at = end;
      while (/[\s:]/.test(text[at]!)) at++;
    }
    const to = endOfValue(text, at);
    yield { key, from: at, to };
    at = to;
  }
}

/** JSON without white space between its parts: it has no meaning, but counts towards the limit. */
const compact = (json: string): string => json.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');

/** A policy without statements, for a bucket that has none. */
export const NO_POLICY: BucketPolicy = { before: '{"Version":"2012-10-17","Statement":', after: '}', statements: [] };

/**
 * Parses a bucket's policy. It keeps the text of all statements, so that numbers, unknown fields, order and spelling
 * stay unchanged.
 * @param text undefined when the bucket has no policy
 * @throws PolicyError for a policy that S3 would not accept.
 */
export function parseBucketPolicy(text: string | undefined): BucketPolicy {
  if (text === undefined) return NO_POLICY;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new PolicyError('The policy of the bucket is not JSON');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new PolicyError('The policy of the bucket is not a JSON object');
  const whole = compact(text);
  const found = [...membersOf(whole, 0)].filter(({ key }) => key === 'Statement');
  if (found.length !== 1)
    throw new PolicyError(`The policy of the bucket has ${found.length === 0 ? 'no' : 'more than one'} Statement`);
  const { from, to } = found[0]!;
  const spans = whole[from] === '[' ? [...membersOf(whole, from)] : [{ from, to }];
  const statements = spans.map((span): PolicyStatement => {
    const own = whole.slice(span.from, span.to);
    const value: unknown = JSON.parse(own);
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new PolicyError('A statement of the bucket policy is not an object');
    return { text: own, value: value as Record<string, unknown> };
  });
  return { before: whole.slice(0, from), after: whole.slice(to), statements };
}

/**
 * Writes a policy as a text; null without statements, because S3 rejects such a policy and the caller must delete it.
 */
export function serializeBucketPolicy({ before, after, statements }: BucketPolicy): string | null {
  return statements.length === 0 ? null : `${before}[${statements.map(({ text }) => text).join(',')}]${after}`;
}

/** Adds statements. They replace those with the same Sid, or go to the end. */
export function putStatements(policy: BucketPolicy, ours: readonly GrantStatement[]): BucketPolicy {
  const left = new Map(ours.map((statement) => [statement.Sid, statement]));
  const sids = new Set(left.keys());
  const made = (statement: GrantStatement): PolicyStatement => ({
    text: JSON.stringify(statement),
    value: { ...statement },
  });
  const statements = policy.statements.flatMap((each): PolicyStatement[] => {
    const sid = each.value.Sid;
    if (typeof sid !== 'string' || !sids.has(sid)) return [each];
    const own = left.get(sid);
    left.delete(sid);
    return own === undefined ? [] : [haveSameMeaning(each.value, own) ? each : made(own)];
  });
  return { ...policy, statements: [...statements, ...[...left.values()].map(made)] };
}

/** Takes the statements with these Sids out. */
export function removeStatements(policy: BucketPolicy, sids: readonly string[]): BucketPolicy {
  return { ...policy, statements: policy.statements.filter(({ value }) => !sids.includes(value.Sid as string)) };
}

/** A member of a policy that may be one value or a list. */
export const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);
const sorted = (values: unknown[]): unknown[] =>
  [...new Set(values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))))].sort();
/** A principal in one spelling: S3 always writes an account as the ARN of its root. */
export const normalizePrincipal = (value: unknown): unknown =>
  typeof value === 'string' ? value.replace(/^arn:aws[a-z-]*:iam::(\d{12}):root$/, '$1') : value;

/** The meaning of a statement, without the order of lists, the case of actions and the spelling of accounts. */
function meaning(statement: Record<string, unknown>): string {
  const members = Object.entries(statement).map(([key, value]): [string, unknown] => {
    if (key === 'Action' || key === 'NotAction')
      return [key, sorted(listOf(value).map((action) => (typeof action === 'string' ? action.toLowerCase() : action)))];
    if (key === 'Resource' || key === 'NotResource') return [key, sorted(listOf(value))];
    if ((key === 'Principal' || key === 'NotPrincipal') && typeof value === 'object' && value !== null) {
      return [
        key,
        Object.entries(value)
          .sort()
          .map(([kind, principals]) => [kind, sorted(listOf(principals).map(normalizePrincipal))]),
      ];
    }
    if (key === 'Condition' && typeof value === 'object' && value !== null) {
      return [
        key,
        Object.entries(value)
          .sort()
          .map(([operator, keys]) => [
            operator,
            Object.entries((keys ?? {}) as object)
              .sort()
              .map(([name, values]) => [name.toLowerCase(), sorted(listOf(values))]),
          ]),
      ];
    }
    return [key, value];
  });
  return JSON.stringify(members.sort(([one], [other]) => (one < other ? -1 : 1)));
}

function haveSameMeaning(one: object, other: object): boolean {
  return meaning(one as Record<string, unknown>) === meaning(other as Record<string, unknown>);
}

/** Whether a policy contains a grant: all its statements unchanged, none of them, or something else. */
export function grantStanding(policy: BucketPolicy, grant: Grant): 'whole' | 'missing' | 'changed' {
  const states = grantStatements(grant).map((own) => {
    const found = policy.statements.filter(({ value }) => value.Sid === own.Sid);
    return found.length === 0
      ? 'missing'
      : found.length === 1 && haveSameMeaning(found[0]!.value, own)
        ? 'whole'
        : 'changed';
  });
  const first = states[0]!;
  return states.every((state) => state === first) ? first : 'changed';
}

/** The name of a statement for people: its Sid, or its position from 1. */
export function nameStatement({ value }: PolicyStatement, at: number): string {
  return typeof value.Sid === 'string' && value.Sid !== '' ? value.Sid : `number ${at + 1} (without a Sid)`;
}

/** A statement with polony's Sid but without a grant: of the vendor's cloud, another installation, or a person. */
export interface ForeignStatement {
  sid: string;
  /** The ARN in the Sid; null when there is none. */
  principal: string | null;
  statement: Record<string, unknown>;
}

/** @param known the Sids of all grants of the bucket */
export function foreignStatements(policy: BucketPolicy, known: ReadonlySet<string>): ForeignStatement[] {
  return policy.statements.flatMap(({ value }) => {
    const sid = value.Sid;
    if (typeof sid !== 'string' || !sid.startsWith(SID_PREFIX) || known.has(sid)) return [];
    const principal =
      /^(arn:.+?)(?::[0-9a-f]{8}-[0-9a-f-]{27}:(?:Read|List))?$/.exec(sid.slice(SID_PREFIX.length))?.[1] ?? null;
    return [{ sid, principal, statement: value }];
  });
}

/** Names of statements that allow something to everybody. A condition may still restrict them. */
export function openStatements(policy: BucketPolicy): string[] {
  return policy.statements.flatMap((each, at) => {
    const { Effect, Principal, NotPrincipal } = each.value;
    // An Allow with NotPrincipal is for everybody else.
    const everybody =
      NotPrincipal !== undefined ||
      Principal === '*' ||
      (typeof Principal === 'object' &&
        Principal !== null &&
        Object.values(Principal).some((value) => listOf(value).includes('*')));
    return Effect === 'Allow' && everybody ? [nameStatement(each, at)] : [];
  });
}

/** The size of a policy in bytes, as S3 counts it. */
export function policyBytes(text: string): number {
  return new TextEncoder().encode(text).length;
}
