/** A table that was read from a text. */
export interface TextTable {
  rows: string[][];
  /** Whether the text has more rows than were read. */
  hasMore: boolean;
}

/**
 * Reads comma-separated values (RFC 4180). Rows may have different lengths, as those of run manifests do.
 * @param most rows to read
 */
export function readCsv(text: string, most: number): TextTable {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = text.startsWith('\uFEFF') ? 1 : 0;
  const endRow = (): void => {
    if (row.some((cell) => cell !== '')) rows.push(row);
    row = [];
  };
  while (at < text.length) {
    if (rows.length >= most) return { rows, hasMore: text.slice(at).trim() !== '' };
    const [cell, end] = readCell(text, at);
    row.push(cell);
    const mark = text[end];
    at = end + 1;
    if (mark === ',') {
      // The last cell of a row that ends with a comma is empty.
      if (at >= text.length) row.push('');
      continue;
    }
    if (mark === '\r' && text[at] === '\n') at += 1;
    endRow();
  }
  endRow();
  return { rows, hasMore: false };
}

/** @returns a cell, and where the mark behind it is */
function readCell(text: string, start: number): [string, number] {
  if (text[start] !== '"') {
    let at = start;
    while (at < text.length && !',\r\n'.includes(text[at]!)) at += 1;
    return [text.slice(start, at), at];
  }
  let cell = '';
  let at = start + 1;
  for (; at < text.length; at += 1) {
    if (text[at] !== '"') cell += text[at];
    else if (text[at + 1] === '"') {
      cell += '"';
      at += 1;
    } else break;
  }
  at += 1;
  // What follows a closing quote belongs to the cell, as spreadsheets read it.
  const begin = at;
  while (at < text.length && !',\r\n'.includes(text[at]!)) at += 1;
  return [cell + text.slice(begin, at), at];
}
