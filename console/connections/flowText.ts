/** The lines of a text, without empty ones. */
export const parseLines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

/** The inverse of {@link parseLines}. */
export const formatLines = (lines: readonly string[] | undefined): string => (lines ?? []).join('\n');

/** Reads the JSON object of parameters. @returns what is wrong with it, where it is none */
export function parseParameters(text: string): Record<string, unknown> | string {
  if (text.trim() === '') return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `This is not valid JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return 'This must be a JSON object, such as { "num_threads": 16 }';
  return value as Record<string, unknown>;
}
