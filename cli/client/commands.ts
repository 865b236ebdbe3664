import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { polonyClient } from '../../client/index.js';
import { answeredError, CliError, EXIT, unreachable } from './exit.js';
import {
  type CommandOf,
  COMMANDS,
  flagKind,
  type FlagKind,
  flagName,
  GROUPS,
  type Operation,
  operations,
} from './operations.js';
import { cell, lines, listTable, print, thingTable, write } from './output.js';
import { type ConnectionOptions, connectionOf, type Profile } from './profiles.js';
import { exitOf, hasEnded, watchExecution } from './watch.js';

/** Adds the flags that every command of the client has. */
export function connected(command: Command): Command {
  return command
    .option('--api-url <url>', 'address of the API; POLONY_API_URL')
    .option('--api-key <key>', 'better in POLONY_API_KEY or a profile: other users of this machine see flags')
    .option('--profile <name>', 'of polony login')
    .option('--json', 'for programs: the answer of the API');
}

/** Flags as commander has parsed them. */
type Flags = ConnectionOptions & { json?: boolean; [flag: string]: unknown };

/** What an operation is asked with. */
interface Asked {
  path?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: unknown;
  headers?: Record<string, string>;
}

/**
 * Asks for an operation by its path in the document, such as `/v1/runs/{id}`, where which one it is is known at run time only.
 * @throws CliError
 */
export async function request(
  api: Profile,
  method: Operation['method'],
  path: string,
  { path: ids = {}, query = {}, body, headers = {} }: Asked = {},
): Promise<unknown> {
  // Of these an address would name another thing: nothing, or what it is part of.
  for (const [name, id] of Object.entries(ids))
    if (['', '.', '..'].includes(id)) throw new CliError(`The ${name} is ${id === '' ? 'empty' : id}`, EXIT.usage);
  const client = polonyClient(api);
  const call = client.request(
    method.toLowerCase() as never,
    path as never,
    { params: { path: ids, query }, headers, ...(body !== undefined && { body }) } as never,
  ) as Promise<{ data?: unknown; error?: unknown; response: Response }>;
  return answerTo(api, call);
}

/** What has been answered, where it is no error. @throws CliError */
async function answerTo<T>(
  api: Profile,
  call: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T | undefined> {
  try {
    const { data, error, response } = await call;
    if (!response.ok) throw answeredError(response, error);
    if (data !== undefined && (typeof data !== 'object' || data === null)) throw new SyntaxError('no object');
    return data;
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new CliError(
        `${api.url} has answered something that is not of polony; is it the address of its API?`,
        EXIT.unavailable,
      );
    throw unreachable(api.url, error);
  }
}

/** What an operation of the client has answered. @throws CliError */
export async function asked<T>(
  api: Profile,
  call: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  const data = await answerTo(api, call);
  if (data === undefined)
    throw new CliError(`${api.url} has answered nothing; is it the address of polony's API?`, EXIT.unavailable);
  return data;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Where the things of a group are listed. */
const LISTS: Readonly<Record<string, { path: string; items: string; filtered?: boolean }>> = {
  providers: { path: '/v1/providers', items: 'providers' },
  storage: { path: '/v1/storage-connections', items: 'storageConnections' },
  compute: { path: '/v1/compute-connections', items: 'computeConnections' },
  flows: { path: '/v1/flows', items: 'flows' },
  runs: { path: '/v1/runs', items: 'runs', filtered: true },
  executions: { path: '/v1/executions', items: 'executions', filtered: true },
  keys: { path: '/v1/api-keys', items: 'apiKeys' },
};
/** Which fields of a body name a thing of a group. */
const REFERENCES: Readonly<Record<string, string>> = {
  providerId: 'providers',
  computeConnectionId: 'compute',
  flowId: 'flows',
  runId: 'runs',
  storageConnectionIds: 'storage',
};

/** The id of a thing that is given by its id or its name. @throws CliError where there is none of that name, or several. */
export async function idOf(api: Profile, group: string, given: string): Promise<string> {
  const list = LISTS[group];
  if (given === '') throw new CliError(`The id or name among ${group} is empty`, EXIT.usage);
  if (list === undefined || UUID.test(given)) return given;
  const found: { id: string; name: string }[] = [];
  for (let pageToken: string | undefined; ;) {
    const page = (await request(api, 'GET', list.path, {
      query: {
        pageSize: 1000,
        pageToken,
        ...(list.filtered === true && { filter: `name:"${given.replace(/[\\"]/g, '\\$&')}"` }),
      },
    })) as Record<string, unknown>;
    if (!Array.isArray(page?.[list.items]))
      throw new CliError(
        `${api.url} has answered something that is not of polony; is it the address of its API?`,
        EXIT.unavailable,
      );
    found.push(...(page[list.items] as typeof found).filter(({ name }) => name === given));
    pageToken = page.nextPageToken as string | undefined;
    if (pageToken === undefined || pageToken === '' || found.length > 1) break;
  }
  if (found.length === 1) return found[0]!.id;
  if (found.length === 0) throw new CliError(`There is nothing named ${cell(given)} among ${group}`, EXIT.notFound);
  throw new CliError(
    `Several of ${group} are named ${cell(given)}: ${found.map(({ id }) => id).join(', ')}${found.length > 1 ? ', …' : ''}; give the id`,
    EXIT.usage,
  );
}

const number = (text: string): number => {
  if (!/^-?\d{1,15}(\.\d+)?$/.test(text)) throw new InvalidArgumentError('must be a number');
  return Number(text);
};
/** A flag's whole number, from zero. */
export const whole = (text: string): number => {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('must be a whole number');
  return Number(text);
};
/** Longest pause of --watch, in seconds: a timer of Node.js takes no more than 24 days. */
const MOST_SECONDS = 86_400;
const several = (value: string, before: string[] = []): string[] => [
  ...before,
  ...value.split(',').filter((each) => each !== ''),
];
/** JSON, or the content of a file behind @, or of standard input for -. */
const json = (text: string): unknown => {
  const content = text === '-' ? fileOf('/dev/stdin') : text.startsWith('@') ? fileOf(text.slice(1)) : text;
  try {
    return JSON.parse(content);
  } catch {
    throw new InvalidArgumentError('must be JSON, @file or - for standard input');
  }
};
function fileOf(file: string): string {
  try {
    return readFileSync(file === '/dev/stdin' ? 0 : file, 'utf8');
  } catch (error) {
    throw new InvalidArgumentError(`${file} cannot be read: ${(error as Error).message}`);
  }
}
/** A text, or the content of a file behind @; of @@ one stays. */
const text = (value: string): string =>
  value.startsWith('@@') ? value.slice(1) : value.startsWith('@') ? fileOf(value.slice(1)) : value;

function flag(kind: FlagKind, name: string, description: string): Option {
  switch (kind) {
    case 'boolean':
      return new Option(`--${flagName(name)} [yes]`, description)
        .argParser((value) => {
          if (!/^(true|false|yes|no)$/.test(value)) throw new InvalidArgumentError('must be true or false');
          return /^(true|yes)$/.test(value);
        })
        .preset('true');
    case 'number':
      return new Option(`--${flagName(name)} <number>`, description).argParser(number);
    case 'texts':
      return new Option(
        `--${flagName(name)} <list>`,
        `${description}${description === '' ? '' : '; '}separated by commas, or given several times`,
      ).argParser(several);
    case 'json':
      return new Option(
        `--${flagName(name)} <json>`,
        `${description}${description === '' ? '' : '; '}JSON or @file`,
      ).argParser(json);
    case 'text':
      return new Option(`--${flagName(name)} <text>`, description).argParser(text);
  }
}
const camel = (name: string): string =>
  flagName(name).replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
const PAGING = new Set(['pageSize', 'pageToken', 'includeTotalCount']);

/** What a person sees of an answer: the thing in it, without the name around it. */
function thingOf(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null) return answer;
  const [first, ...others] = Object.entries(answer);
  if (first === undefined) return answer;
  return others.length === 0 ? first[1] : answer;
}

/** Items of all pages, at most so many. */
async function* pages(
  api: Profile,
  operation: Operation,
  path: Record<string, string>,
  query: Record<string, unknown>,
  items: string,
  most: number,
): AsyncGenerator<unknown[]> {
  let left = most;
  for (let pageToken: string | undefined; left > 0;) {
    const answer = (await request(api, 'GET', operation.path, {
      path,
      query: { ...query, ...(pageToken !== undefined && { pageToken }) },
    })) as Record<string, unknown>;
    if (!Array.isArray(answer?.[items]))
      throw new CliError(
        `${api.url} has answered something that is not of polony; is it the address of its API?`,
        EXIT.unavailable,
      );
    const found = (answer[items] as unknown[]).slice(0, left);
    left -= found.length;
    // Folders of a listing that is not recursive stand before the files of its page.
    yield [...((answer.subdirectories as string[] | undefined) ?? []).map((path) => ({ path })), ...found];
    pageToken = answer.nextPageToken as string | undefined;
    if (pageToken !== undefined && pageToken !== '') continue;
    if (answer.isTruncated === true) process.stderr.write('There are more than the API lists here.\n');
    return;
  }
}

function itemsOf(operation: Operation, { items }: CommandOf): string {
  return (
    items ??
    {
      AuditService_ListAuditLog: 'entries',
      InstrumentService_ListInstrumentStorageConnections: 'storageConnections',
      WebhookService_ListDeliveries: 'deliveries',
    }[operation.operationId] ??
    operation.operationId.replace(/^.*_List/, '').replace(/^./, (letter) => letter.toLowerCase())
  );
}

/** Shows an execution at each change, until it has ended. The exit code says how. */
export async function follow(api: Profile, id: string, asJson: boolean): Promise<void> {
  let status = '';
  for await (const seen of watchExecution(api, id)) {
    status = seen.execution.status;
    const line = `${new Date().toISOString()}  ${cell(status)}  ${cell(seen.execution.statusDescription)}`;
    await write(`${asJson ? JSON.stringify(seen) : line}\n`);
  }
  if (!hasEnded(status))
    throw new CliError(
      'The stream of the execution has ended before it; look at it with polony executions get',
      EXIT.unavailable,
    );
  process.exitCode = exitOf(status);
}

function addCommand(parent: Command, operation: Operation, how: CommandOf): void {
  const command = connected(
    parent.command(how.verb).description(operation.summary.replace(/^./, (letter) => letter.toLowerCase())),
  );
  if (operation.description !== undefined) command.addHelpText('after', `\n${operation.description}`);
  const ids = operation.parameters.filter((each) => each.in === 'path');
  for (const [at, { name }] of ids.entries())
    command.argument(
      `<${at === 0 ? (LISTS[how.group] === undefined ? flagName(name).replace('_', '-') : 'id-or-name') : flagName(name).replace('_', '-')}>`,
    );
  const query = operation.parameters.filter((each) => each.in === 'query');
  for (const { name, schema, description } of query)
    if (!PAGING.has(name)) command.addOption(flag(flagKind(schema), name, description ?? schema.description ?? ''));
  const isList = how.columns !== undefined;
  const paged = query.some(({ name }) => name === 'pageToken');
  if (isList) {
    command.option('--no-headers', 'rows only');
    if (paged)
      command
        .option('--max-items <number>', 'how many at most; 0 for all', whole, 0)
        .option('--page-size <number>', 'how many are asked for at once', whole);
    command.option('--watch [seconds]', 'show it anew every so many seconds', whole);
  }
  const fields = Object.entries(operation.body?.properties ?? {});
  for (const [name, schema] of fields) {
    const option = flag(flagKind(schema), name, schema.description ?? '');
    command.addOption(schema.enum === undefined ? option : option.choices(schema.enum));
  }
  if (operation.body !== undefined)
    command.option(
      '--data <json>',
      'the whole body as JSON, @file, or - for standard input; flags are laid over it',
      json,
    );
  const repeatable = operation.parameters.some(({ name }) => name === 'idempotency-key');
  if (repeatable)
    command.option(
      '--idempotency-key <key>',
      'makes the command repeatable: the same key and input again get the same answer',
    );
  const watches = [
    'ExecutionService_GetExecutionDetails',
    'ExecutionService_CreateExecution',
    'ExecutionService_RelaunchExecution',
    'ExecutionService_CancelExecution',
    'ExecutionService_RetryExecution',
  ].includes(operation.operationId);
  if (watches) command.option('--watch', 'follow it until it has ended; the exit code says how');

  command.action(async (...given: unknown[]) => {
    const flags = given.at(-2) as Flags;
    const api = connectionOf(flags);
    const path: Record<string, string> = {};
    for (const [at, { name }] of ids.entries())
      path[name] = at === 0 ? await idOf(api, how.group, given[at] as string) : (given[at] as string);
    const search: Record<string, unknown> = {};
    for (const { name } of query)
      if (!PAGING.has(name) && flags[camel(name)] !== undefined) search[name] = flags[camel(name)];
    const asJson = flags.json === true;

    if (isList) {
      const items = itemsOf(operation, how);
      const most = flags.maxItems === undefined || flags.maxItems === 0 ? Infinity : (flags.maxItems as number);
      if (flags.pageSize !== undefined || (paged && Number.isFinite(most)))
        search.pageSize = Math.max(1, Math.min(1000, (flags.pageSize as number | undefined) ?? most));
      else if (paged) search.pageSize = 1000;
      const show = async (): Promise<void> => {
        if (asJson) {
          // Written page by page: a bucket has more files than memory.
          let before = '[\n';
          for await (const page of pages(api, operation, path, search, items, most)) {
            for (const item of page) {
              await write(`${before}${JSON.stringify(item)}`);
              before = ',\n';
            }
          }
          await write(before === '[\n' ? '[]\n' : '\n]\n');
          return;
        }
        let first = true;
        for await (const page of pages(api, operation, path, search, items, most)) {
          const table = listTable(page, how.columns!, first && flags.headers !== false);
          if ((first || page.length > 0) && table !== '') await write(`${table}\n`);
          first = false;
        }
      };
      if (flags.watch === undefined) return show();
      const seconds = typeof flags.watch === 'number' ? Math.min(MOST_SECONDS, Math.max(1, flags.watch)) : 5;
      for (let again = false; ; again = true) {
        if (process.stdout.isTTY) process.stdout.write('\u001b[2J\u001b[H');
        await show().catch((error: unknown) => {
          // Somebody who looks on does not want to begin anew because the API did.
          if (!again || !(error instanceof CliError) || error.exit !== EXIT.unavailable) throw error;
          process.stderr.write(`${error.message}\n`);
        });
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      }
    }

    let body: Record<string, unknown> | undefined;
    if (operation.body !== undefined) {
      if (
        flags.data !== undefined &&
        (typeof flags.data !== 'object' || flags.data === null || Array.isArray(flags.data))
      )
        throw new CliError('--data must be a JSON object', EXIT.usage);
      body = { ...(flags.data as Record<string, unknown> | undefined) };
      for (const [name] of fields) {
        const value = flags[camel(name)];
        if (value === undefined) continue;
        body[name] = value;
      }
      for (const [name, group] of Object.entries(REFERENCES))
        if (typeof body[name] === 'string') body[name] = await idOf(api, group, body[name]);
    }
    if (flags.idempotencyKey !== undefined && !/^[\x21-\x7e]+$/.test(flags.idempotencyKey as string))
      throw new CliError('--idempotency-key must be of letters, digits and signs without spaces', EXIT.usage);
    const headers =
      flags.idempotencyKey === undefined ? undefined : { 'idempotency-key': flags.idempotencyKey as string };
    const answer = await request(api, operation.method, operation.path, { path, query: search, body, headers });
    if (watches && flags.watch !== undefined) {
      if (!asJson && operation.method !== 'GET')
        process.stdout.write(`${thingTable({ id: (answer as { execution: { id: string } }).execution.id })}\n`);
      return follow(api, (answer as { execution: { id: string } }).execution.id, asJson);
    }
    if (operation.operationId === 'ExecutionService_GetExecutionLogs' && !asJson) {
      const { error, log } = answer as { error: string; log: string };
      if (error !== '') process.stderr.write(`${lines(error)}\n`);
      await write(log === '' || log.endsWith('\n') ? lines(log) : `${lines(log)}\n`);
      return;
    }
    print(asJson, answer ?? {}, () => thingTable(thingOf(answer)));
  });
}

/** Adds a command for every operation of the API that people use. */
export function addResourceCommands(program: Command): void {
  const groups = new Map<string, Command>();
  for (const [operationId, operation] of operations()) {
    const how = COMMANDS[operationId];
    if (how === undefined) continue;
    const group = groups.get(how.group) ?? program.command(how.group).description(GROUPS[how.group] ?? '');
    groups.set(how.group, group);
    addCommand(group, operation, how);
  }
}
