import { FileFormatError } from '../errors.js';

const FILE = 'RunManifest.csv';

/**
 * Decodes the bytes of a run manifest.
 * @throws FileFormatError with the place of the first byte that is not UTF-8.
 */
export function decodeManifest(content: Uint8Array): string {
  if (isUtf16(content)) {
    const message = 'the file is UTF-16, which spreadsheets call "Unicode text". Save it as UTF-8 (CSV UTF-8).';
    throw new FileFormatError(FILE, message, 1, 1);
  }
  // Before UTF-8, which they are not either.
  rejectWorkbook(new TextDecoder('latin1').decode(content.subarray(0, 4)));
  const format = BINARY_FORMATS.find(({ magic }) => magic.every((byte, at) => content[at] === byte));
  if (format !== undefined) throw new FileFormatError(FILE, `the file is ${format.name}. Save it as CSV UTF-8.`, 1, 1);
  const text = decodeUtf8(content);
  if (text === undefined) throw findInvalidByte(content);
  return text;
}

const BINARY_FORMATS = [
  { name: 'an Excel workbook of an old version (.xls)', magic: [0xd0, 0xcf, 0x11, 0xe0] },
  { name: 'compressed (gzip)', magic: [0x1f, 0x8b] },
];

function isUtf16(content: Uint8Array): boolean {
  return (content[0] === 0xff && content[1] === 0xfe) || (content[0] === 0xfe && content[1] === 0xff);
}

/** @throws FileFormatError for text that begins like an Excel workbook, which is a zip archive. */
export function rejectWorkbook(text: string): void {
  if (text.startsWith('PK\u0003\u0004'))
    throw new FileFormatError(FILE, 'the file is an Excel workbook (.xlsx). Save it as CSV UTF-8.', 1, 1);
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The error for the first line that is not UTF-8. */
function findInvalidByte(content: Uint8Array): FileFormatError {
  for (let line = 1, start = 0; ; line++) {
    const newline = content.indexOf(0x0a, start);
    const bytes = content.subarray(start, newline < 0 ? undefined : newline);
    if (decodeUtf8(bytes) === undefined) {
      const column = new TextDecoder().decode(bytes).indexOf('\uFFFD') + 1;
      return new FileFormatError(FILE, 'this byte is not UTF-8. Save the file as UTF-8 (CSV UTF-8).', line, column);
    }
    if (newline < 0) return new FileFormatError(FILE, 'the file is not UTF-8. Save it as UTF-8 (CSV UTF-8).', line);
    start = newline + 1;
  }
}
