import type { AboutText } from './define.js';
import { type Environment, SettingsReader } from './read.js';
import { SETTING_GROUPS } from './schema.js';

/**
 * The secrets in the settings of this process, so that its log can leave them out: the values of all secret variables,
 * and the parts of those that contain several or more than a secret.
 */
export function secretValues(env: Environment): string[] {
  const reader = new SettingsReader(env);
  const values: string[] = [];
  for (const { settings } of SETTING_GROUPS)
    for (const [name, schema] of Object.entries(settings)) {
      const value = (schema as Partial<AboutText>).isSecret === true ? reader.value(name) : undefined;
      if (value === undefined) continue;
      // A list such as `id=key,id=key`; an ARN in it is not secret.
      const parts = value.split(',').map((part) => part.slice(part.indexOf('=') + 1).trim());
      values.push(value, ...parts.filter((part) => !part.startsWith('arn:')));
      const password = URL.canParse(value) ? new URL(value).password : '';
      if (password !== '') values.push(password, decodeURIComponentOrSame(password));
    }
  return [...new Set(values)];
}

function decodeURIComponentOrSame(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
