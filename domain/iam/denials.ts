import { findOtherRemedy } from './otherReasons.js';
import { findPermission, type PermissionScope, type Statement, statementFor } from './permissions.js';

/** A kind of policy that can deny a request (IAM User Guide, "Policy evaluation logic"). */
type DenyingPolicy =
  | 'identity'
  | 'resource'
  | 'trust'
  | 'session'
  | 'boundary'
  | 'serviceControl'
  | 'resourceControl'
  | 'vpcEndpoint'
  /** A kind that polony does not know. */
  | 'other';

/** What AWS says about a denial. Members are absent where AWS does not say it. */
export interface Denial {
  /** IAM action. One call may need several: StartRun needs iam:PassRole, and an object may need kms:Decrypt. */
  action?: string;
  /** ARN, or `*`. */
  resource?: string;
  /** `explicit`: a Deny statement matches, which no Allow can override. `implicit`: no statement allows it. */
  deny?: 'explicit' | 'implicit';
  /** Which kind of policy denies it. */
  policy?: DenyingPolicy;
  /** AWS names the policy to callers of the same account or organization. */
  policyArn?: string;
  /** What to do where no policy denies it, such as for unknown credentials; without the last full stop. */
  otherRemedy?: string;
  /** Whether the message has an encoded part with the reason, which sts:DecodeAuthorizationMessage shows. */
  isEncoded?: boolean;
}

/** Who made the request, so that a remedy can name the policies to change. */
export interface DeniedCaller {
  /** Whose identity-based policies apply, for example "the provider's role or user". */
  identity: string;
  /** Where permissions must hold, as far as known. */
  scope?: PermissionScope;
}

/** How remedies name the caller of most requests: the role or the user of the provider. */
export const PROVIDER_IDENTITY = "the provider's role or user";

/** What a person can do about a denial. */
export interface DenialRemedy {
  /** One or more sentences, without the last full stop. */
  remedy: string;
  /** The statement that grants what is missing; absent where no Allow in an identity-based policy can help. */
  statement?: Statement;
  /** What was denied the action: an ARN or `*`; absent where it is not known. */
  resource?: string;
}

/** S3 puts resources into quotes, because keys can have spaces. */
const PERMISSION =
  /not authorized to perform:? ([a-z0-9-]+:[a-z]+)(?: on (?:the )?resource:? (?:"(arn:[^"]+)"|(arn:[^\s"]+|\*)))?/i;
const POLICY_TYPE = String.raw`([a-z][a-z -]*?(?:polic(?:y|ies)|boundary|boundaries))`;
const EXPLICIT = new RegExp(String.raw`explicit deny(?: in (?:an?|the) ${POLICY_TYPE})?(?:: *"?(arn:[^\s"]+))?`, 'i');
const IMPLICIT = new RegExp(String.raw`because (?:no|the)\b.*?\b${POLICY_TYPE} (?:allows?|does not allow)\b`, 'i');
/** AWS KMS does not tell the two apart: "…, no resource-based policies allow access, or … explicitly denies access". */
const KMS_RESOURCE_POLICY = /no resource-based policies allow access|or you are not allowed to access/i;
/** An older message of S3 for a key that the caller cannot use, without an action. */
const KMS_CIPHERTEXT = /ciphertext refers to a customer master key/i;

const POLICY_WORDS: readonly [RegExp, DenyingPolicy][] = [
  [/identity-based/i, 'identity'],
  [/resource(-based)? polic|key policy|bucket policy/i, 'resource'],
  [/trust policy/i, 'trust'],
  [/session/i, 'session'],
  [/boundar/i, 'boundary'],
  [/service control/i, 'serviceControl'],
  [/resource control/i, 'resourceControl'],
  [/vpc endpoint/i, 'vpcEndpoint'],
];

/**
 * Reads why AWS denied a request from its message (IAM User Guide, "Troubleshoot access denied error messages"), and from
 * its code where no policy denies it.
 * @returns an empty object for a message without a reason, such as the plain "Access Denied" of S3.
 */
export function parseDenial(message: string, code = ''): Denial {
  const permission = PERMISSION.exec(message);
  const action = permission?.[1] ?? (KMS_CIPHERTEXT.test(message) ? 'kms:Decrypt' : undefined);
  const resource = permission?.[2] ?? permission?.[3]?.replace(/[.,:]$/, '');
  // Names of buckets and objects say nothing about the reason.
  const otherRemedy = findOtherRemedy(code, message.replace(/"arn:[^"]*"|\barn:[^\s"]+/g, ''));
  return {
    ...(action !== undefined && { action }),
    ...(resource !== undefined && { resource }),
    ...(otherRemedy === undefined ? parseReason(message, action) : { otherRemedy }),
    ...(/encoded authorization failure message/i.test(message) && { isEncoded: true }),
  };
}

/** Tags and the source identity of a session need the trust policy's permission like the session itself. */
const TRUST_ACTIONS = /^sts:(TagSession|SetSourceIdentity)$/i;

function parseReason(message: string, action = ''): Pick<Denial, 'deny' | 'policy' | 'policyArn'> {
  if (KMS_RESOURCE_POLICY.test(message)) return { policy: 'resource' };
  const explicit = EXPLICIT.exec(message);
  if (explicit !== null) {
    const policyArn = explicit[2]?.replace(/[.,]$/, '');
    return { deny: 'explicit', ...policyOf(explicit[1]), ...(policyArn !== undefined && { policyArn }) };
  }
  const implicit = IMPLICIT.exec(message);
  if (implicit !== null) return { deny: 'implicit', ...policyOf(implicit[1]) };
  return TRUST_ACTIONS.test(action) ? { policy: 'trust' } : {};
}

function policyOf(words: string | undefined): Pick<Denial, 'policy'> {
  if (words === undefined) return {};
  return { policy: POLICY_WORDS.find(([pattern]) => pattern.test(words))?.[1] ?? 'other' };
}

/** Whether an Allow statement in an identity-based policy can end a denial: not where AWS names another reason. */
export function canAllowHelp({ deny, policy, otherRemedy }: Denial): boolean {
  return otherRemedy === undefined && deny !== 'explicit' && (policy === undefined || policy === 'identity');
}

/**
 * Says what to do about a denial: which policy of which kind to change, and how.
 * @param denied what was denied: the action and the resource that AWS names, or else those of the call.
 */
export function explainDenial(
  denial: Denial,
  denied: { action: string; resource: string },
  caller: DeniedCaller,
): DenialRemedy {
  if (denial.otherRemedy !== undefined) return { remedy: denial.otherRemedy };
  const action = denial.action ?? denied.action;
  const isOtherAction = action.toLowerCase() !== denied.action.toLowerCase();
  // The resource of the call is not a resource of another action: a bucket is none of kms:Decrypt.
  const resource = denial.resource ?? (isOtherAction ? resourceOf(action, caller.scope) : denied.resource);
  const what = resource === undefined ? action : `${action} on ${resource}`;
  const where = describePolicy(denial, action, caller.identity);
  if (!canAllowHelp(denial))
    return { remedy: explainChange(denial, what, where), ...(resource !== undefined && { resource }) };
  return {
    remedy:
      `Allow ${what} in the policy of ${caller.identity}` +
      (denial.deny === undefined ? '. If the policy allows it already, look for a policy that denies it' : '') +
      (denial.deny === undefined && denial.isEncoded === true
        ? '. `aws sts decode-authorization-message` shows the reason'
        : ''),
    ...(resource !== undefined && { resource, statement: missingStatement(action, resource, caller.scope) }),
  };
}

function explainChange({ deny, policy, policyArn }: Denial, what: string, where: string): string {
  const named = policyArn === undefined ? where : `${where} (${policyArn})`;
  const who = policy === undefined ? undefined : ADMINISTRATORS[policy];
  const ask = who === undefined ? '' : `. ${who} can change it`;
  if (deny === 'explicit')
    return (
      `Remove the Deny that matches ${what} from ${named}, or limit it so that it does not match${ask}. ` +
      'An Allow in another policy cannot override a Deny'
    );
  if (deny === 'implicit') return `Allow ${what} in ${named}${ask}. An Allow in another policy does not replace it`;
  return `Allow ${what} in ${named}, and check that no statement there denies it${ask}`;
}

const ADMINISTRATORS: Partial<Record<DenyingPolicy, string>> = {
  serviceControl: "The administrator of the account's AWS organization",
  resourceControl: "The administrator of the resource's AWS organization",
  vpcEndpoint: 'The operator of the network from which polony calls AWS',
};

function describePolicy({ policy }: Denial, action: string, identity: string): string {
  switch (policy) {
    case undefined:
      return (
        `the policy that has it: an identity-based policy or the permissions boundary of ${identity}, the policy of ` +
        'the resource, or a service control policy of the organization'
      );
    case 'identity':
      return `the identity-based policies of ${identity}; for a user, also those of its groups`;
    case 'resource':
      return describeResourcePolicy(action);
    case 'trust':
      return 'the trust policy of the role';
    case 'session':
      return `the session policy of the credentials with which polony acts as ${identity}`;
    case 'boundary':
      return `the permissions boundary of ${identity}`;
    case 'serviceControl':
      return "the service control policies (SCPs) of the account's AWS organization";
    case 'resourceControl':
      return "the resource control policies (RCPs) of the resource's AWS organization";
    case 'vpcEndpoint':
      return 'the policy of the VPC endpoint through which polony calls AWS';
    case 'other':
      return 'the policy of the kind that AWS names';
  }
}

function describeResourcePolicy(action: string): string {
  if (action.startsWith('s3:')) return 'the bucket policy';
  if (action.startsWith('kms:')) return 'the key policy of the KMS key';
  if (action.startsWith('sts:')) return 'the trust policy of the role';
  return 'the policy of the resource';
}

/** What the permission table grants an action on, where AWS does not name the resource and it is a single one. */
function resourceOf(action: string, scope: PermissionScope | undefined): string | undefined {
  const row = findPermission(action);
  if (row === undefined || scope === undefined) return undefined;
  const { Resource: resource } = statementFor(row.action, scope);
  return typeof resource === 'string' ? resource : undefined;
}

/** AWS names one resource at a time. The statement has all that the vendor's table lists, so one change suffices. */
function missingStatement(action: string, resource: string, scope: PermissionScope | undefined): Statement {
  const row = findPermission(action);
  return row !== undefined && scope !== undefined
    ? statementFor(row.action, scope)
    : { Effect: 'Allow', Action: [action], Resource: resource };
}
