/**
 * The text of a policy, as IAM and STS accept it. They take the tab, the line ends and U+0020 to U+00FF, and refuse a
 * text with any other character (IAM API Reference, PutRolePolicy; STS API Reference, AssumeRole and
 * GetFederationToken). Escapes in JSON mean the same characters, so that any prefix can be in a policy. An escape counts
 * as six characters towards the size of a policy.
 * @param indent how many spaces each level is indented; 0 for one line
 */
export function policyText(document: unknown, indent = 0): string {
  return escapeCharacters(JSON.stringify(document, null, indent), /[\u007f-\u009f\u0100-\uffff]/g);
}

/** Writes characters as JSON escapes. A character outside the Basic Multilingual Plane is two escapes. */
export function escapeCharacters(json: string, characters: RegExp): string {
  return json.replace(characters, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
