/**
 * What may reach a log. Only fields in {@link FIELDS} do, and only values of the shape that the field has. So a secret
 * in a field that somebody adds later stays out until a person adds the field here.
 */

/** What a log has in place of a value, or of the part of a text, that it must not show. */
const REMOVED = '[removed]';

type Shape = 'id' | 'name' | 'text' | 'number' | 'boolean' | 'names' | 'error';

/** Longest value of each kind of text, in characters. */
const LONGEST = { id: 300, name: 500, text: 4000, stack: 8000 } as const;
const MOST_NAMES = 20;
const MOST_CAUSES = 5;

const FIELDS: Readonly<Record<string, Shape>> = {
  // Of every line.
  level: 'number',
  time: 'number',
  pid: 'number',
  hostname: 'name',
  msg: 'text',
  // What the line is about. docs/how-to/monitor.md explains them.
  requestId: 'id',
  executionId: 'id',
  runId: 'id',
  providerId: 'id',
  healthOmicsRunId: 'id',
  storageConnectionId: 'id',
  computeConnectionId: 'id',
  flowId: 'id',
  webhookId: 'id',
  deliveryId: 'id',
  accessGrantId: 'id',
  audit: 'id',
  traceId: 'id',
  spanId: 'id',
  // Temporal.
  workflowId: 'name',
  workflowRunId: 'id',
  workflowType: 'id',
  activityId: 'id',
  activityType: 'id',
  taskQueue: 'name',
  taskQueues: 'names',
  task_queue: 'name',
  namespace: 'name',
  temporal: 'name',
  deploymentName: 'id',
  buildId: 'id',
  pinnedWorkflows: 'names',
  endsWhenDrained: 'boolean',
  keyId: 'id',
  sdkComponent: 'id',
  target: 'id',
  attempt: 'number',
  isLocal: 'boolean',
  durationMs: 'number',
  workflowFailure: 'error',
  // Requests of the API.
  method: 'id',
  path: 'name',
  status: 'number',
  milliseconds: 'number',
  caller: 'name',
  callerId: 'name',
  address: 'name',
  attempts: 'number',
  // Everything else that polony logs.
  action: 'id',
  awsRequestId: 'id',
  bucket: 'id',
  runFolder: 'name',
  event: 'id',
  resources: 'number',
  payloads: 'number',
  executions: 'number',
  usable: 'boolean',
  setting: 'id',
  url: 'text',
  database: 'name',
  state: 'text',
  reason: 'text',
  todo: 'text',
  origins: 'names',
  by: 'name',
  error: 'error',
  err: 'error',
};

/** Removes what a log must not have. */
export class Redactor {
  readonly #secrets: readonly string[];

  /** @param secrets values that must never be in a text, such as the keys in the settings of this process */
  constructor(secrets: readonly string[] = []) {
    // Short values, such as a password `polony`, are words of ordinary texts.
    this.#secrets = [...new Set(secrets)].filter((each) => each.length >= 8).sort((a, b) => b.length - a.length);
  }

  /** One line of a log, as JSON with a line feed. */
  redactLine(line: string): string {
    let parsed: unknown;
    try {
      parsed = JSON.parse(line);
    } catch {
      return `${JSON.stringify({ level: 50, time: Date.now(), msg: `A log line was not valid JSON: ${REMOVED}` })}\n`;
    }
    return `${JSON.stringify(this.redactFields(parsed))}\n`;
  }

  /** The fields that a log may have. `removedFields` counts those that it may not have. */
  redactFields(fields: unknown): Record<string, unknown> {
    const kept: Record<string, unknown> = {};
    let removed = 0;
    for (const [name, value] of Object.entries(isRecord(fields) ? fields : {})) {
      if (value === null || value === undefined) continue;
      const shape = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
      if (shape === undefined) removed++;
      else kept[name] = this.#vet(shape, value);
    }
    if (removed > 0) kept.removedFields = removed;
    return kept;
  }

  /** A text without what looks like a secret, and not longer than a log shows. */
  redactText(text: string, longest: number = LONGEST.text): string {
    let clean = text;
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, REMOVED);
    // The patterns cost time for each character, so they see only what can be shown.
    const isCut = clean.length > longest;
    if (isCut) clean = clean.slice(0, longest).replace(/\p{Cs}$/u, '');
    for (const [pattern, replacement] of SECRET_PATTERNS) clean = clean.replace(pattern, replacement);
    clean = clean.replace(LONG_TOKEN, (token) => (isSecretLike(token) ? REMOVED : token));
    return isCut ? `${clean}…` : clean;
  }

  #vet(shape: Shape, value: unknown): unknown {
    switch (shape) {
      case 'number':
        return typeof value === 'number' ? value : REMOVED;
      case 'boolean':
        return typeof value === 'boolean' ? value : REMOVED;
      case 'id':
        return typeof value === 'string' && ID.test(value) ? this.redactText(value, LONGEST.id) : REMOVED;
      case 'name':
      case 'text':
        return typeof value === 'string' ? this.redactText(value, LONGEST[shape]) : REMOVED;
      case 'names':
        return this.#vetNames(value);
      case 'error':
        return typeof value === 'string' ? this.redactText(value) : this.#vetError(value, MOST_CAUSES);
    }
  }

  /** Names in a list, or by what they are for. */
  #vetNames(value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return REMOVED;
    const names = Object.values(value).filter((each) => typeof each === 'string');
    return names.slice(0, MOST_NAMES).map((each) => this.redactText(each, LONGEST.name));
  }

  /**
   * Errors of the AWS SDK have the request and the response with all headers, and those of PostgreSQL whole rows. None
   * of that is kept.
   */
  #vetError(value: unknown, causes: number): unknown {
    if (!isRecord(value)) return REMOVED;
    const { type, name, code, message, stack, cause, awsRequestId } = value;
    const text = (part: unknown, longest: number): string | undefined =>
      typeof part === 'string' ? this.redactText(part, longest) : undefined;
    return {
      type: text(type ?? name, LONGEST.id),
      code: typeof code === 'number' ? code : text(code, LONGEST.id),
      message: text(message, LONGEST.text),
      stack: text(stack, LONGEST.stack),
      awsRequestId: text(awsRequestId, LONGEST.id),
      cause: isRecord(cause) && causes > 0 ? this.#vetError(cause, causes - 1) : undefined,
    };
  }
}

const ID = /^[\w.:@/+=~*<>-]{1,300}$/;

const SECRET_NAME =
  'authorization|x-api-key|x-amz-security-token|set-cookie|cookie|pass(?:word|wd)?|pgpassword|secret(?:[-_ ]?access[-_ ]?key)?|' +
  '(?:session|access|refresh|id|security|web[-_ ]?identity|auth)?[-_ ]?token|signature|x-amz-signature|credential|' +
  'api[-_ ]?key|private[-_ ]?key|external[-_ ]?id|sealed';

/** What must not stay in a text, and what replaces it. */
const SECRET_PATTERNS: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/-----BEGIN [^-]{1,60}-----[\s\S]*?(?:-----END [^-]{1,60}-----|$)/g, REMOVED],
  // The user and the query of an address: passwords, and signatures of URLs.
  [/\b([a-z][a-z0-9+.-]{1,20}:\/\/)[^\s/@"'<>]*@/gi, `$1${REMOVED}@`],
  [/\b([a-z][a-z0-9+.-]{1,20}:\/\/[^\s?"'<>]*)\?[^\s"'<>]+/gi, `$1?${REMOVED}`],
  [/([?&](?:x-amz-[a-z-]+|sig|signature|token|key|secret)=)[^&\s"']+/gi, `$1${REMOVED}`],
  // A name and its value: `password=…`, `"secretAccessKey":"…"`, `Authorization: Bearer …`.
  [
    new RegExp(
      `((?:\\b|_)(?:${SECRET_NAME})\\b\\\\?["']?(?:\\s*=>?|\\s*:)\\s*\\\\?["']?)(?:(?:Bearer|Basic|AWS4-HMAC-SHA256)\\s+)?[^\\s"',;}\\\\]+`,
      'gi',
    ),
    `$1${REMOVED}`,
  ],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]{8,}/g, `$1 ${REMOVED}`],
  [/\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?/g, REMOVED],
  [/\bpolony_[0-9a-f]{32}_[\w-]+/g, REMOVED],
  [/\bwhsec_[\w+/=-]+/g, REMOVED],
];

const LONG_TOKEN = /[A-Za-z0-9+/=_-]{32,}/g;
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;

/**
 * Whether a long run of characters looks random, as keys and session tokens do. Paths and names have words, and ids of
 * polony are UUIDs.
 */
function isSecretLike(token: string): boolean {
  const rest = token.replace(UUID, '');
  if (/[0-9a-f]{40,}/i.test(rest) && !/[g-z]/i.test(rest)) return true;
  if (rest.length < 32 || !/\d/.test(rest) || !/[A-Z]/.test(rest) || !/[a-z]/.test(rest)) return false;
  if (SECRET_ACCESS_KEY.test(rest)) return true;
  // Words change between upper case, lower case and digits seldom; random characters at more than every second place.
  const kinds = [...rest.replace(/[^A-Za-z0-9]/g, '')].map((each) =>
    /\d/.test(each) ? 0 : /[a-z]/.test(each) ? 1 : 2,
  );
  const changes = kinds.filter((kind, at) => at > 0 && kind !== kinds[at - 1]).length;
  return changes / kinds.length > 0.4;
}

/** The form of AWS's secret access keys. */
const SECRET_ACCESS_KEY = /^[A-Za-z0-9+/]{40}$/;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
