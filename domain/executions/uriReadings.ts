/** How often a program may decode a text at most. Nobody encodes a key more often. */
const MOST_LAYERS = 4;

/**
 * The places that a program may read from where it is given the URI of one. S3 takes a key literally. Other programs
 * decode percent signs (RFC 3986, 2.4) and escapes, take a backslash for a slash (WHATWG URL, 4.4), and drop tabs and
 * line breaks (WHATWG URL, 4.1).
 * @param uri of S3
 * @returns undefined where a reading has folders named `.` or `..`, which some programs resolve and S3 does not, or
 * where the text can be decoded very often
 */
export function listReadings(uri: string): ReadonlySet<string> | undefined {
  const readings = new Set<string>();
  let text = uri;
  for (let layer = 0; layer <= MOST_LAYERS; layer++) {
    for (const reading of [text, text.replace(/\\/g, '/'), text.replace(/[\\\t\r\n]/g, '')]) {
      if (hasDots(reading)) return undefined;
      readings.add(reading);
    }
    const decoded = decode(text);
    if (decoded === text) return readings;
    text = decoded;
  }
  return undefined;
}

/**
 * Whether a part of the path is `.` or `..`, also where the path could end in the middle of the text, or where a shell
 * would expand braces. NFKC turns other dots and slashes into these.
 */
function hasDots(text: string): boolean {
  return /[/\\{,]\.{1,2}(?![\p{L}\p{N}\p{M}._~@=-])/u.test(text.normalize('NFKC'));
}

/** Undoes one layer of encoding: percent signs, `%u0041`, overlong UTF-8, and the escapes `\u0041` and `\x41`. */
function decode(text: string): string {
  return text
    .replace(/(?:%u|\\u)([0-9a-f]{4})|\\x([0-9a-f]{2})/gi, (_whole, wide?: string, narrow?: string) => {
      return String.fromCharCode(Number.parseInt(wide ?? narrow!, 16));
    })
    .replace(/%c([01])%([89ab][0-9a-f])/gi, (_whole, high: string, low: string) => {
      return String.fromCharCode(Number(high) * 0x40 + (Number.parseInt(low, 16) & 0x3f));
    })
    .replace(/(?:%[0-9a-f]{2})+/gi, decodePercent);
}

/** Bytes that are no UTF-8 stay as they are, and ASCII among them does not. */
function decodePercent(bytes: string): string {
  try {
    return decodeURIComponent(bytes);
  } catch {
    return bytes.replace(/%([0-7][0-9a-f])/gi, (_whole, code: string) =>
      String.fromCharCode(Number.parseInt(code, 16)),
    );
  }
}
