/**
 * JSON with line breaks and indentation. Texts and numbers stay as they are written: `JSON.parse` would round large
 * numbers, such as the times of instruments in nanoseconds.
 * @returns undefined for what is not JSON
 */
export function indentJson(text: string): string | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  const parts = text.match(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g) ?? [];
  const written: string[] = [];
  let depth = 0;
  const newLine = (): string => `\n${'  '.repeat(depth)}`;
  parts.forEach((part, at) => {
    const next = parts[at + 1];
    if (part === '{' || part === '[') {
      depth += 1;
      written.push(part, next === '}' || next === ']' ? '' : newLine());
    } else if (part === '}' || part === ']') {
      depth -= 1;
      const before = parts[at - 1];
      written.push(before === '{' || before === '[' ? '' : newLine(), part);
    } else if (part === ',') written.push(part, newLine());
    else if (part === ':') written.push(': ');
    else written.push(part);
  });
  return written.join('');
}
