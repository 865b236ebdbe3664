import { InputError } from '../../domain/errors.js';
import type { EncryptionKey, PayloadKeys } from '../../domain/settings.js';
import { parseScopes } from '../../domain/auth/scopes.js';
import { isNetwork } from '../../domain/webhooks/networks.js';
import { WORKFLOW_TYPES } from '../../workflows/messages/workflowTypes.js';

/** A rule that a value breaks, and what to do. Neither repeats the value: some values are secrets. */
export interface Violation {
  rule: string;
  message: string;
}

/** A parsed value, or what is wrong with it. */
export type Parsed<Value> = { value: Value } | { violations: Violation[] };

const formatViolation = (message: string) => ({ violations: [{ rule: 'FORMAT', message }] });

/** `host:port`, where the host may be an IPv6 address in brackets and the port is 1 to 65535. */
export const HOST_AND_PORT =
  /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/;

/** An address to listen at: {@link HOST_AND_PORT}, or port 0 for any free port. */
export const LISTEN_ADDRESS = new RegExp(HOST_AND_PORT.source.replace('([1-9]', '(0|[1-9]'));

/** Whether a text is the address of a PostgreSQL database. */
export function isDatabaseUrl(text: string): boolean {
  if (!/^postgres(ql)?:\/\//.test(text)) return false;
  const url = parseUrl(text);
  return url !== undefined && url.pathname.length > 1 && (url.hostname !== '' || url.searchParams.has('host'));
}

/** Whether a text is an address that clients can reach the API at. */
export function isPublicUrl(text: string): boolean {
  const url = parseUrl(text);
  return (
    url !== undefined && /^https?:$/.test(url.protocol) && url.search === '' && url.hash === '' && url.username === ''
  );
}

/**
 * Whether a text may be an address of the identity provider. It must use TLS, because anyone on the network path could
 * replace the provider's keys. An address of this machine needs no TLS.
 */
export function isIdentityUrl(text: string): boolean {
  const url = parseUrl(text);
  if (url === undefined || url.hash !== '' || url.username !== '') return false;
  const isLocal = ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname);
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLocal);
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

/** Parses `id=key` entries, separated by commas. */
export function parseEncryptionKeys(text: string): Parsed<EncryptionKey[]> {
  const keys: EncryptionKey[] = [];
  const violations: Violation[] = [];
  for (const [index, entry] of text.split(',').entries()) {
    const [, id, value = ''] = /^\s*([A-Za-z0-9._-]{1,64})=(.*?)\s*$/.exec(entry) ?? [];
    if (id === undefined)
      violations.push({
        rule: 'FORMAT',
        message: `entry ${index + 1} must be id=key. Separate entries with commas; the first key encrypts.`,
      });
    else if (keys.some((key) => key.id === id))
      violations.push({ rule: 'UNIQUE', message: `has two keys with the id ${id}` });
    else if (/^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key|alias)\/.+$/.test(value)) keys.push({ id, kmsKeyArn: value });
    else if (/^[A-Za-z0-9+/]{43}=$/.test(value)) keys.push({ id, key: value });
    else
      violations.push({
        rule: 'FORMAT',
        message:
          `the key ${id} must be 32 random bytes in base64 (for example from: openssl rand -base64 32) ` +
          'or the ARN of a KMS key',
      });
  }
  return violations.length === 0 ? { value: keys } : { violations };
}

/** Parses `id=key` entries, separated by commas; `none` as the first entry turns encryption off. */
export function parsePayloadKeys(text: string): Parsed<PayloadKeys> {
  const [first = '', ...rest] = text.split(',');
  const encrypts = first.trim() !== 'none';
  if (!encrypts && rest.length === 0) return { value: { encrypts, keys: [] } };
  const keys = parseEncryptionKeys(encrypts ? text : rest.join(','));
  return 'value' in keys ? { value: { encrypts, keys: keys.value } } : keys;
}

/** Parses types of workflows, separated by commas; `*` stands for all. */
export function parseWorkflowTypes(text: string): Parsed<readonly string[]> {
  if (text === '*') return { value: WORKFLOW_TYPES };
  const types = text.split(',').map((type) => type.trim());
  if (types.every((type) => WORKFLOW_TYPES.includes(type))) return { value: types };
  return formatViolation(`must be *, or some of these, separated by commas: ${WORKFLOW_TYPES.join(', ')}`);
}

/** Parses origins of web pages, separated by commas. */
export function parseOrigins(text: string): Parsed<readonly string[]> {
  const origins = text.split(',').map((origin) => origin.trim());
  const isOrigin = (origin: string): boolean =>
    /^https?:\/\//.test(origin) && parseUrl(origin)?.origin === origin.toLowerCase();
  if (origins.every(isOrigin)) return { value: origins.map((origin) => origin.toLowerCase()) };
  return formatViolation(
    'must be origins without a path, separated by commas, such as https://temporal.example.org. ' +
      'To allow every origin would let any web page read payloads.',
  );
}

/** Parses CIDR blocks, separated by commas. */
export function parseNetworks(text: string): Parsed<string[]> {
  const networks = text.split(',').map((network) => network.trim());
  if (networks.every(isNetwork)) return { value: networks };
  return formatViolation('must be networks in CIDR notation, separated by commas, such as 10.1.0.0/16,fd12:3456::/32');
}

/** Parses the delays between two attempts to deliver a webhook, in seconds, separated by commas. */
export function parseRetrySeconds(text: string): Parsed<readonly number[]> {
  const seconds = text.split(',').map((part) => (/^\s*\d{1,6}\s*$/.test(part) ? Number(part) : NaN));
  if (seconds.length <= 30 && seconds.every((delay) => delay >= 1 && delay <= 604_800)) return { value: seconds };
  return formatViolation(
    'must be up to 30 whole numbers of seconds from 1 to 604800, separated by commas. Remove it to use the default.',
  );
}

/** Parses which proxies may state a client's address: all, none, or those with these addresses. */
export function parseTrustProxy(text: string): Parsed<boolean | string[]> {
  if (text === 'false') return { value: false };
  const addresses = text.split(',').map((address) => address.trim());
  const isAddress = (address: string): boolean =>
    /^([0-9a-fA-F]*:[0-9a-fA-F.:]*|\d+(\.\d+){3})(\/\d{1,3})?$/.test(address) ||
    ['loopback', 'linklocal', 'uniquelocal'].includes(address);
  if (addresses.every(isAddress)) return { value: addresses };
  return formatViolation(
    'must be false, or the addresses of your proxies separated by commas, such as 10.0.0.0/8,loopback. ' +
      'To trust everybody would let any client choose the address in the audit log.',
  );
}

/** Parses a JSON object that maps values of the scopes claim to lists of scopes. */
export function parseScopeMap(text: string): Parsed<Record<string, string[]>> {
  const map = parseJson(text);
  if (!isMapOfLists(map))
    return formatViolation('must be JSON such as {"lab-admins":["*"],"analysts":["runs:read","executions:*"]}');
  const violations = Object.entries(map).flatMap(([value, scopes]) => invalidScopes(value, scopes));
  return violations.length === 0 ? { value: map } : { violations };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isMapOfLists(map: unknown): map is Record<string, string[]> {
  const isListOfTexts = (list: unknown): boolean =>
    Array.isArray(list) && list.every((scope) => typeof scope === 'string');
  return typeof map === 'object' && map !== null && !Array.isArray(map) && Object.values(map).every(isListOfTexts);
}

function invalidScopes(value: string, scopes: string[]): Violation[] {
  try {
    parseScopes('scopes', scopes);
    return [];
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return error.problems.map(({ message }) => ({
      rule: 'SCOPE',
      message: `has an invalid scope for ${value}: ${message}`,
    }));
  }
}
