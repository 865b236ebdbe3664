/**
 * Bucket policies as sharing edits them (the vendor's page, "Sharing Data Through Bucket Policies"). What others wrote stays as its own
 * text: only our statements are put in, replaced or taken out.
 */
import { parseArn } from '../arn.js';
import type { FieldProblem } from '../errors.js';

/** How the page's Sids begin; the principal's ARN follows. Policies of buckets take any characters there, unlike those of IAM. */
export const SID_PREFIX = 'ElemBio_BucketReadAccess_';
/** The most that S3 takes as a bucket policy, in bytes (S3 User Guide, "Policies and permissions in Amazon S3": 20 KB). */
export const POLICY_LIMIT = 20 * 1024;

/** The partition of a region: ARNs of buckets and principals are of it, and one does not reach into another. */
export function partitionOf(region: string): string {
  return region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
}

/** A principal that reading may be granted to. `problems` is empty exactly where `arn` is given. */
export interface CheckedPrincipal {
  problems: FieldProblem[];
  arn?: string;
}

/**
 * Reads a principal: the ARN of an IAM role or user, or an account as 12 digits or `arn:…:root` (IAM User Guide, "AWS JSON policy
 * elements: Principal"). What would share with everybody, or ends by itself, is refused.
 * @param partition of the bucket
 */
export function readPrincipal(field: string, value: string, partition: string): CheckedPrincipal {
  const text = value.trim();
  const refused = (rule: string, message: string): CheckedPrincipal => ({ problems: [{ field, rule, message }] });
  if (/^\d{12}$/.test(text)) return { problems: [], arn: `arn:${partition}:iam::${text}:root` };
  if (/[*?]|\$\{/.test(text))
    return refused(
      'PRINCIPAL_WILDCARD',
      'must be one role, user or account: *, ? and ${ would share the bucket with others, or with everybody',
    );
  if (/^A[A-Z]{3}[A-Z0-9]{12,}$/.test(text))
    return refused('PRINCIPAL_UNIQUE_ID', 'must be an ARN, not the unique ID of a role or user');
  const arn = parseArn(text);
  if (arn?.service === 'sts') {
    const role = /^assumed-role\/([^/]+)\//.exec(arn.resource)?.[1];
    return refused(
      'PRINCIPAL_SESSION',
      `must not be a session, which ends: give the ${role === undefined ? 'user or role itself' : `role itself, such as arn:${arn.partition}:iam::${arn.account}:role/${role} (with its path, where it has one)`}`,
    );
  }
  if (arn?.service === 'iam' && arn.region === '' && /^group\//.test(arn.resource))
    return refused(
      'PRINCIPAL_GROUP',
      'must not be a group: AWS takes no groups as principals; grant it to the users or a role',
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
      `must be the ARN of an IAM role or user such as arn:${partition}:iam::111122223333:role/Analysis, or an account: its 12 digits or arn:${partition}:iam::111122223333:root`,
    );
  if (arn.partition !== partition)
    return refused(
      'PRINCIPAL_PARTITION',
      `must be of the partition ${partition}, in which the bucket is: AWS does not share across partitions`,
    );
  return { problems: [], arn: text };
}

/** What is granted, and to whom. */
export interface Grant {
  id: string;
  bucket: string;
  partition: string;
  /** ARN. */
  principal: string;
  /** What the keys begin with, with a slash at its end; null for the whole bucket. */
  folder: string | null;
  /** When AWS is to stop allowing it, whatever becomes of the statement. */
  expires: Date | null;
}

/** A statement of ours. */
export interface GrantStatement {
  Sid: string;
  Effect: 'Allow';
  Principal: { AWS: string };
  Action: string[];
  Resource: string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}

/**
 * The statements of a grant. For the whole bucket it is the page's, with its Sid. Narrowed to a folder listing needs a condition that the
 * rest does not have, so there are two, with the grant's id in their Sids: a principal may have several folders.
 */
export function grantStatements({ id, bucket, partition, principal, folder, expires }: Grant): GrantStatement[] {
  const sid = `${SID_PREFIX}${principal}`;
  const arn = `arn:${partition}:s3:::${bucket}`;
  // Without fractions of seconds: W3C's form, which IAM wants.
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

/** A policy that is none, or that nobody can edit without knowing more. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
}

/** A statement of a policy: as it is written, and what it says. */
interface PolicyStatement {
  text: string;
  value: Record<string, unknown>;
}

/** A bucket's policy, taken apart so that it can be put together again. */
export interface BucketPolicy {
  /** What stands before and behind the statements. */
  before: string;
  after: string;
  statements: PolicyStatement[];
}

/** Where a JSON value that begins here ends. The text is valid JSON. */
function endOfValue(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const char = text[at]!;
    if (char === '"') {
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++;
      if (depth === 0) return at + 1;
    } else if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') {
      // The end of what a number or word stands in.
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (depth === 0 && (char === ',' || /\s/.test(char))) return at;
  }
  return text.length;
}

/** The members of an object or array: key, where the value begins and where it ends. */
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

/** JSON without what stands between its parts, which means nothing and counts. */
const compact = (json: string): string => json.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');

/** A policy without statements, for a bucket that has none. */
export const NO_POLICY: BucketPolicy = { before: '{"Version":"2012-10-17","Statement":', after: '}', statements: [] };

/**
 * Reads a bucket's policy. `Statement` may be one or a list of them; the texts of all are kept, so that numbers, unknown fields, order and
 * spellings come back as they were.
 * @param text undefined where the bucket has none
 * @throws PolicyError where it is not what S3 would have taken.
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

/** The policy as a text; null where no statement is left, which S3 does not take: such a policy is deleted. */
export function serializeBucketPolicy({ before, after, statements }: BucketPolicy): string | null {
  return statements.length === 0 ? null : `${before}[${statements.map(({ text }) => text).join(',')}]${after}`;
}

/** Puts statements in: in place of those with the same Sid, or behind all others. */
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
    return own === undefined ? [] : [same(each.value, own) ? each : made(own)];
  });
  return { ...policy, statements: [...statements, ...[...left.values()].map(made)] };
}

/** Takes the statements with these Sids out. */
export function removeStatements(policy: BucketPolicy, sids: readonly string[]): BucketPolicy {
  return { ...policy, statements: policy.statements.filter(({ value }) => !sids.includes(value.Sid as string)) };
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);
const sorted = (values: unknown[]): unknown[] =>
  [...new Set(values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))))].sort();
/** S3 writes an account as the ARN of its root, however it was given. */
const principalOf = (value: unknown): unknown =>
  typeof value === 'string' ? value.replace(/^arn:aws[a-z-]*:iam::(\d{12}):root$/, '$1') : value;

/** What a statement means: lists of one, their order, the case of actions and the spelling of accounts say nothing. */
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
          .map(([kind, principals]) => [kind, sorted(listOf(principals).map(principalOf))]),
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

function same(one: object, other: object): boolean {
  return meaning(one as Record<string, unknown>) === meaning(other as Record<string, unknown>);
}

/** Whether a grant stands in a policy: all of its statements as they were written, none of them, or something else. */
export function grantStanding(policy: BucketPolicy, grant: Grant): 'whole' | 'missing' | 'changed' {
  const states = grantStatements(grant).map((own) => {
    const found = policy.statements.filter(({ value }) => value.Sid === own.Sid);
    return found.length === 0 ? 'missing' : found.length === 1 && same(found[0]!.value, own) ? 'whole' : 'changed';
  });
  const first = states[0]!;
  return states.every((state) => state === first) ? first : 'changed';
}

/** A statement by which it can be found: its Sid, or its place from 1. */
function nameOf({ value }: PolicyStatement, at: number): string {
  return typeof value.Sid === 'string' && value.Sid !== '' ? value.Sid : `number ${at + 1} (without a Sid)`;
}

/** A statement with one of our Sids that no grant is known of: of the vendor's cloud, another installation, or a person. */
export interface ForeignStatement {
  sid: string;
  /** The ARN in the Sid; null where none can be read there. */
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

/**
 * Statements that name a role or user which was deleted: S3 then shows its unique ID (`AROA…`, `AIDA…`), and refuses every policy
 * that has one (IAM User Guide, "Principal").
 */
export function deletedPrincipals(policy: BucketPolicy): { name: string; ids: string[] }[] {
  return policy.statements.flatMap((each, at) => {
    const named = [each.value.Principal, each.value.NotPrincipal].flatMap((principal) =>
      typeof principal === 'object' && principal !== null ? listOf((principal as { AWS?: unknown }).AWS) : [],
    );
    const ids = named.filter(
      (id): id is string => typeof id === 'string' && /^A(ROA|IDA|GPA|NPA)[A-Z0-9]{12,}$/.test(id),
    );
    return ids.length === 0 ? [] : [{ name: nameOf(each, at), ids }];
  });
}

/** Statements that allow something to everybody, by name; a condition may still narrow them. */
export function openStatements(policy: BucketPolicy): string[] {
  return policy.statements.flatMap((each, at) => {
    const { Effect, Principal } = each.value;
    const everybody =
      Principal === '*' ||
      (typeof Principal === 'object' &&
        Principal !== null &&
        Object.values(Principal).some((value) => listOf(value).includes('*')));
    return Effect === 'Allow' && everybody ? [nameOf(each, at)] : [];
  });
}

/** Bytes of a policy as S3 counts them. */
export function policyBytes(text: string): number {
  return new TextEncoder().encode(text).length;
}
