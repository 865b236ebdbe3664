/** Shows a character so that people recognize it: those outside ASCII with their code, because they may look like it. */
export function describeCharacter(character: string): string {
  if (/^[\x20-\x7e]$/.test(character)) return JSON.stringify(character);
  const code = `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`;
  return /^[\p{L}\p{N}\p{P}\p{S}]$/u.test(character) ? `"${character}" (${code})` : `the character ${code}`;
}
