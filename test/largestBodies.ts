import type { OpenApi } from './openapi.js';

export interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  maxLength?: number;
  maxItems?: number;
  maxProperties?: number;
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
}

/** Texts that are hard for patterns: a repeated part, and an end that spoils a match. */
export const SHAPES: readonly (readonly [part: string, end: string])[] = [
  ['a', 'a'],
  [' ', 'x'],
  ['/', 'x'],
  ['a/', '*'],
  [':', '/'],
  ['s3:', '/'],
  ['s3://b/k ', '!'],
  ['https://h/', ' '],
  ['%2525', '!'],
  ['"', '"'],
  [',', '"'],
  ['\\', '!'],
  ['[', ']'],
  ['*?', 'b'],
  ['.', '-'],
  ['1', 'x'],
  ['é', '\u0301'],
  ['🧬', 'x'],
  ['\u0000', 'x'],
  ['arn:aws:iam::', '!'],
];

/** A text of a length that {@link SHAPES} describes. */
export function textOf([part, end]: (typeof SHAPES)[number], length: number): string {
  const text = part.repeat(Math.ceil(length / part.length)).slice(0, Math.max(0, length - end.length));
  // Half of a surrogate pair cannot be sent.
  return length === 0 ? '' : text.replace(/[\ud800-\udbff]$/, '') + end;
}

/** Builds values as large as a schema and a number of characters allow. */
export class LargestValue {
  constructor(
    private readonly document: OpenApi,
    private readonly shape: (typeof SHAPES)[number],
    private left: number,
  ) {}

  build(given: Schema): unknown {
    const schema = this.resolve(given);
    const choice = schema.anyOf ?? schema.oneOf;
    if (choice !== undefined) return this.build(choice.find((each) => this.resolve(each).type !== 'null')!);
    if (schema.enum !== undefined) return schema.enum[0];
    if (schema.const !== undefined) return schema.const;
    const types = [schema.type].flat();
    if (types.includes('object')) return this.object(schema);
    if (types.includes('array')) return this.array(schema);
    if (types.includes('string')) return this.text(schema.maxLength ?? this.left);
    if (types.includes('boolean')) return true;
    return 1;
  }

  private resolve(schema: Schema): Schema {
    const name = schema.$ref?.split('/').pop();
    return name === undefined ? schema : (this.document.components.schemas[name] as Schema);
  }

  private text(most: number): string {
    const text = textOf(this.shape, Math.max(0, Math.min(most, this.left)));
    this.left -= text.length;
    return text;
  }

  private object({ properties = {}, additionalProperties, maxProperties = 50 }: Schema): unknown {
    const built = Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, this.build(schema)]));
    if (additionalProperties === undefined || additionalProperties === false) return built;
    for (let at = 0; at < maxProperties && this.left > 0; at++) {
      this.left -= 10;
      const inner =
        typeof additionalProperties === 'object' ? additionalProperties : { type: 'string', maxLength: 2000 };
      built[`${at}${this.text(20)}`] = this.build(inner);
    }
    return built;
  }

  private array({ items = {}, maxItems = 1000 }: Schema): unknown[] {
    const built: unknown[] = [];
    while (built.length < maxItems && this.left > 0) {
      this.left -= 5;
      built.push(this.build(items));
    }
    return built;
  }
}
