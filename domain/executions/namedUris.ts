/** A URI in a text of a request. */
export interface NamedUri {
  /** Dotted name of the field that contains it. */
  field: string;
  /** `s3`: a place in S3. `other`: anything else that {@link ALLOWED_SCHEMES} does not contain. */
  kind: 's3' | 'other';
  /** From its scheme to the next URI, or to the end of the text: keys in S3 may contain spaces and commas. */
  uri: string;
}

/** Schemes that name nothing in S3: HealthOmics storage, and files that anybody can get. */
const ALLOWED_SCHEMES: readonly string[] = ['omics', 'https'];
/** Longest scheme that polony looks for; the longest that IANA has registered is shorter. */
const SCHEME_CHARACTERS = 40;
/** How often a text may contain another one: JSON in JSON, or an escape of an escape. */
const MOST_LAYERS = 4;

/**
 * Finds what a JSON value names outside itself, in values and in names of members, also in JSON within a text. It finds
 * the other spellings of places in S3 too: `s3a:`, https URLs of S3, and ARNs. Source: "Methods for accessing a general
 * purpose bucket" in the S3 User Guide.
 * @param field dotted name of the value
 * @param value nested 16 levels at most
 * @returns the URIs that may not be followed without a permission
 */
export function findNamedUris(field: string, value: unknown): NamedUri[] {
  if (typeof value === 'string') return findInText(field, value, MOST_LAYERS);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => [
    ...findInText(`${field}.${name}`, name, MOST_LAYERS),
    ...findNamedUris(`${field}.${name}`, member),
  ]);
}

function findInText(field: string, text: string, layers: number): NamedUri[] {
  const found = findWritten(field, text);
  if (layers === 0) return found;
  const inner = parseInnerJson(text);
  if (inner !== undefined) found.push(...findInJson(field, inner, layers - 1));
  const decoded = decodePercent(text);
  if (decoded === text) return found;
  const hidden = findInText(field, decoded, layers - 1);
  // A percent sign in a key is no escape. Only an escape that hides a URI matters.
  return hidden.length > found.length ? [...found, ...hidden] : found;
}

function findInJson(field: string, value: unknown, layers: number): NamedUri[] {
  const found: NamedUri[] = [];
  // Without recursion, because the depth of JSON within a text has no limit.
  const rest: unknown[] = [value];
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    if (typeof next === 'string') found.push(...findInText(field, next, layers));
    else if (typeof next === 'object' && next !== null) {
      for (const [name, member] of Object.entries(next)) {
        found.push(...findInText(field, name, layers));
        if (member !== undefined && member !== null) rest.push(member);
      }
    }
  }
  return found;
}

function parseInnerJson(text: string): unknown {
  if (!/^\s*["[{]/.test(text)) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Replaces the percent-encoded characters of ASCII, which is enough to reveal a scheme. */
function decodePercent(text: string): string {
  return text.replace(/%([2-7][0-9a-f])/gi, (_whole, code: string) => String.fromCharCode(parseInt(code, 16)));
}

interface Scheme {
  name: string;
  start: number;
}

function findWritten(field: string, text: string): NamedUri[] {
  const schemes: Scheme[] = [];
  for (let colon = text.indexOf(':'); colon >= 0; colon = text.indexOf(':', colon + 1)) {
    const name = readScheme(text, colon);
    if (name !== undefined) schemes.push({ name, start: colon - name.length });
  }
  return schemes.flatMap(({ name, start }, at): NamedUri[] => {
    const uri = text.slice(start, schemes[at + 1]?.start);
    const scheme = name.toLowerCase();
    if (/^s3[a-z0-9]*$/.test(scheme)) return [{ field, kind: 's3', uri }];
    const isAllowed = ALLOWED_SCHEMES.includes(scheme) && (scheme !== 'https' || !namesS3(uri));
    return isAllowed ? [] : [{ field, kind: 'other', uri }];
  });
}

/**
 * The scheme before a colon. Text such as the mask `I1:Y8N*` is none, so a slash must follow, except for S3 and ARNs.
 * @returns undefined where there is none
 */
function readScheme(text: string, colon: number): string | undefined {
  const before = text.slice(Math.max(0, colon - SCHEME_CHARACTERS), colon);
  const name = /[a-z][a-z0-9+.-]*$/i.exec(before)?.[0];
  if (name === undefined) return undefined;
  return /^[/\\]$/.test(text[colon + 1] ?? '') || /^(s3[a-z0-9]*|arn)$/i.test(name) ? name : undefined;
}

/** Whether an https URL is one of S3, in any of its forms, or cannot be parsed. */
function namesS3(uri: string): boolean {
  let host: string;
  try {
    ({ hostname: host } = new URL(/^\S*/.exec(uri)![0]));
  } catch {
    return true;
  }
  return host.split('.').some((label) => /^s3($|-|express)/i.test(label));
}
