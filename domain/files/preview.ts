/** Most bytes of a file that a preview has. */
export const PREVIEW_BYTES = 1024 * 1024;
/** Most bytes of an HTML report. */
export const REPORT_BYTES = 32 * 1024 * 1024;

/** The kinds of files that a preview shows. */
export const PREVIEW_KINDS = ['text', 'csv', 'json', 'image'] as const;

/** How a file can be shown. */
export type Preview =
  { kind: 'text' | 'csv' | 'json'; contentType: string; text: string } | { kind: 'image'; contentType: string };

/** Images, by their first bytes. SVG is not among them: it can contain scripts, so it is shown as text. */
const IMAGES: readonly [string, (bytes: Uint8Array) => boolean][] = [
  ['image/png', (bytes) => startsWith(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])],
  ['image/jpeg', (bytes) => startsWith(bytes, [0xff, 0xd8, 0xff])],
  ['image/gif', (bytes) => startsWith(bytes, [0x47, 0x49, 0x46, 0x38])],
  [
    'image/webp',
    (bytes) => startsWith(bytes, [0x52, 0x49, 0x46, 0x46]) && startsWith(bytes.subarray(8), [0x57, 0x45, 0x42, 0x50]),
  ],
];

/**
 * Finds out how a file can be shown, by its content: its name only tells CSV and JSON from other texts.
 * @param isCut whether the file goes on
 * @returns undefined for a file that is neither text nor an image
 */
export function previewOf(name: string, bytes: Uint8Array, isCut: boolean): Preview | undefined {
  const image = IMAGES.find(([, matches]) => matches(bytes));
  if (image !== undefined) return { kind: 'image', contentType: image[0] };
  const text = decode(bytes, isCut);
  if (text === undefined) return undefined;
  const extension = /\.([a-z0-9]+)$/i.exec(name)?.[1]?.toLowerCase();
  if (extension === 'csv') return { kind: 'csv', contentType: 'text/csv', text };
  if (extension === 'json') return { kind: 'json', contentType: 'application/json', text };
  return { kind: 'text', contentType: 'text/plain', text };
}

function startsWith(bytes: Uint8Array, expected: readonly number[]): boolean {
  return expected.every((byte, at) => bytes[at] === byte);
}

/** @returns undefined for what is not text */
function decode(bytes: Uint8Array, isCut: boolean): string | undefined {
  const encoding = startsWith(bytes, [0xff, 0xfe])
    ? 'utf-16le'
    : startsWith(bytes, [0xfe, 0xff])
      ? 'utf-16be'
      : 'utf-8';
  try {
    // A cut file may end within a character, which streams wait for.
    const text = new TextDecoder(encoding, { fatal: true }).decode(bytes, { stream: isCut });
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  }
}
