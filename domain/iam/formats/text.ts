import { escapeCharacters, policyText } from '../policyText.js';

/** JSON on one line, in ASCII. */
export function compactJson(value: unknown): string {
  return escapeCharacters(JSON.stringify(value), /[\u007f-\uffff]/g);
}

/** A CloudFormation template in JSON. It is also valid YAML, which does not allow surrogate pairs as escapes. */
export function templateText(template: unknown): string {
  return `${escapeCharacters(JSON.stringify(template, null, 2), /[\u007f-\ud7ff\ue000-\uffff]/g)}\n`;
}

/**
 * A text in HCL. A JSON text is an HCL expression, except for template sequences such as `${…}`, whose brace must be
 * escaped.
 */
export function hclText(value: unknown): string {
  return escapeTemplates(JSON.stringify(value));
}

/** A JSON text in HCL, for a member that is indented by two spaces. */
export function hclJson(value: unknown): string {
  return `jsonencode(${escapeTemplates(JSON.stringify(value, null, 2)).replaceAll('\n', '\n  ')})`;
}

/** A policy in HCL, as {@link hclJson}. jsonencode writes no escapes, which some characters need in a policy. */
export function hclPolicy(policy: unknown): string {
  const text = policyText(policy);
  return text === JSON.stringify(policy) ? hclJson(policy) : hclText(text);
}

function escapeTemplates(json: string): string {
  return json.replace(/([$%])\{/g, '$1\\u007b');
}

/** A word that a POSIX shell takes literally. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:=@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
