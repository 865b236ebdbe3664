/** What a browser does with a response: it saves it, or displays it. */
export const DISPOSITIONS = ['attachment', 'inline'] as const;
export type Disposition = (typeof DISPOSITIONS)[number];

/** Most bytes of a name: what file systems accept. */
const MOST_BYTES = 255;

/**
 * A header Content-Disposition with the name of a file (RFC 6266). Names that are not plain ASCII are also encoded as in
 * RFC 8187; browsers prefer that form. Control characters, and what file systems do not accept, become underscores.
 */
export function contentDisposition(disposition: Disposition, name: string): string {
  const clean = shorten(name.replace(/[\p{Cc}\p{Cf}\p{Cs}\\/]/gu, '_')) || 'file';
  // A percent sign is an encoded character to some browsers, also in the plain form.
  const plain = clean.replace(/[^\x20-\x7e]/gu, '_').replace(/["%]/g, '_');
  const encoded = encodeURIComponent(clean).replace(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `${disposition}; filename="${plain}"${plain === clean ? '' : `; filename*=UTF-8''${encoded}`}`;
}

/** Cuts whole characters from the middle, so that the extension stays. */
function shorten(name: string): string {
  const bytes = (text: string): number => new TextEncoder().encode(text).length;
  if (bytes(name) <= MOST_BYTES) return name;
  const extension = /\.[A-Za-z0-9.]{1,20}$/.exec(name)?.[0] ?? '';
  const characters = [...name.slice(0, name.length - extension.length)];
  let left = MOST_BYTES - extension.length;
  let start = '';
  for (const character of characters) {
    left -= bytes(character);
    if (left < 0) break;
    start += character;
  }
  return start + extension;
}
