import { type Command } from 'commander';
import { CliError, EXIT } from './exit.js';
import { createFlag, flagValue, type Flags, parseJson } from './flags.js';
import { flagHelp } from './help.js';
import { resolveId, resolveScope } from './names.js';
import { flagKind, flagName, type Operation } from './operations.js';
import type { Profile } from './profiles.js';

/** A request body as it grows from flags. */
export type Body = Record<string, unknown>;

/** Fields of a body that refer to a resource, by the group of commands. */
const REFERENCES: Readonly<Record<string, string>> = {
  providerId: 'providers',
  computeConnectionId: 'compute',
  flowId: 'flows',
  runId: 'runs',
};
/** Fields of which a body needs exactly one. */
const ALTERNATIVES: Readonly<Record<string, readonly string[]>> = {
  ExecutionService_CreateExecution: ['runId', 'runFolderUri'],
};

const flagOf = (field: string): string => `--${flagName(field)}`;

/** Adds a flag for each field of the body, and `--data`. */
export function addBodyFlags(command: Command, operation: Operation): void {
  const { body, operationId } = operation;
  if (body === undefined) return;
  const alternatives = ALTERNATIVES[operationId] ?? [];
  for (const [name, schema] of Object.entries(body.properties ?? {})) {
    const isRequired = body.required?.includes(name) === true;
    const other = alternatives.find((each) => each !== name);
    const help = flagHelp(operation, name, schema.description ?? '', isRequired);
    const isAlternative = other !== undefined && alternatives.includes(name);
    const flag = createFlag(flagKind(schema), name, isAlternative ? `${help} (required, or ${flagOf(other)})` : help);
    command.addOption(schema.enum === undefined ? flag : flag.choices(schema.enum));
  }
  command.option(
    '--data <json>',
    'the whole body as JSON, @file, or - for standard input; other flags override its fields',
    parseJson,
  );
}

/** Builds a body from `--data` and the flags of its fields. @throws CliError */
export function buildBody({ body: schema }: Operation, flags: Flags): Body {
  const { data } = flags;
  if (data !== undefined && (typeof data !== 'object' || data === null || Array.isArray(data)))
    throw new CliError('--data must be a JSON object', EXIT.usage);
  const body = { ...(data as Body | undefined) };
  for (const name of Object.keys(schema?.properties ?? {})) {
    const value = flagValue(flags, name);
    if (value !== undefined) body[name] = value;
  }
  return body;
}

/** Fails before a request that the API would reject. @throws CliError that names the missing flags */
export function requireFields({ body: schema, operationId }: Operation, body: Body): void {
  const missing = (schema?.required ?? []).filter((name) => body[name] === undefined).map(flagOf);
  const alternatives = ALTERNATIVES[operationId] ?? [];
  if (alternatives.length > 0 && alternatives.every((name) => body[name] === undefined))
    missing.push(alternatives.map(flagOf).join(' or '));
  requireFlags(missing);
}

/** @param missing flags that the command needs and does not have. @throws CliError where there are any */
export function requireFlags(missing: readonly string[]): void {
  if (missing.length > 0)
    throw new CliError(`The command needs ${missing.join(', ')}. --help explains the flags`, EXIT.usage);
}

/** Replaces the names of resources in a body by their IDs. @throws CliError for names that name nothing */
export async function resolveNames(api: Profile, body: Body): Promise<void> {
  for (const [name, group] of Object.entries(REFERENCES))
    if (typeof body[name] === 'string') body[name] = await resolveId(api, group, body[name]);
  if (isTexts(body.scopes)) body.scopes = await inTurn(body.scopes, (scope) => resolveScope(api, scope));
  const autoStart = body.autoStart as { storageConnectionIds?: unknown } | null | undefined;
  if (isTexts(autoStart?.storageConnectionIds)) {
    const storageConnectionIds = await inTurn(autoStart.storageConnectionIds, (each) =>
      resolveId(api, 'storage', each),
    );
    body.autoStart = { ...autoStart, storageConnectionIds };
  }
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

async function inTurn<T>(values: readonly T[], change: (value: T) => Promise<T>): Promise<T[]> {
  const changed: T[] = [];
  for (const value of values) changed.push(await change(value));
  return changed;
}
