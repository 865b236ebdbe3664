import { cutToBytes } from './names.js';

/** The longest text from outside that the details show, in bytes. */
const LONGEST_TEXT = 2000;

/** A text as it is, on one line. */
export function code(text: string): string {
  return `\`${cutToBytes(text.replace(/\s+/g, ' ').replace(/`/g, "'").trim(), LONGEST_TEXT)}\``;
}

/** A sentence that polony wrote and that may contain names: no part of it becomes a link, an image or HTML. */
export function plain(text: string): string {
  const line = cutToBytes(text.replace(/\s+/g, ' ').trim(), LONGEST_TEXT);
  // An underscore inside a word has no meaning in Markdown, and many names have one.
  // GitHub's dialect makes links of addresses too.
  return line.replace(/[\\`*[\]<>@]|(?<!\w)_|_(?!\w)|(?<=:)\/(?=\/)|(?<=\bwww)\./g, '\\$&');
}
