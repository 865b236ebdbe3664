import type { Command } from 'commander';
import { CliError, EXIT } from './exit.js';
import { addConnectionFlags, createFlag, flagValue, type Flags, parseJson, parseWholeNumber } from './flags.js';
import { type ListRequest, printList, watchList } from './lists.js';
import {
  COMMANDS,
  flagKind,
  flagName,
  GROUPS,
  type Operation,
  operations,
  type ResourceCommand,
} from './operations.js';
import { cell, lines, print, thingTable, write } from './output.js';
import { connectionOf, type Profile } from './profiles.js';
import { hasNames, request, resolveId } from './requests.js';
import { exitCodeOf, isFinalApiStatus, watchExecution } from './watch.js';

/** Fields of a body that refer to a resource, by the group of commands. */
const REFERENCES: Readonly<Record<string, string>> = {
  providerId: 'providers',
  computeConnectionId: 'compute',
  flowId: 'flows',
  runId: 'runs',
  storageConnectionIds: 'storage',
};
/** Query parameters that the commands set themselves. */
const PAGING = new Set(['pageSize', 'pageToken', 'includeTotalCount']);
const MAX_PAGE_SIZE = 1000;
/** Operations whose command can follow the execution to its end. */
const WATCHABLE = new Set([
  'ExecutionService_GetExecutionDetails',
  'ExecutionService_CreateExecution',
  'ExecutionService_RelaunchExecution',
  'ExecutionService_CancelExecution',
  'ExecutionService_RetryExecution',
]);

/** Prints an execution at each change until it ends. The exit code says how it ended. */
async function followExecution(api: Profile, id: string, asJson: boolean): Promise<void> {
  let status = '';
  for await (const event of watchExecution(api, id)) {
    status = event.execution.status;
    const line = `${new Date().toISOString()}  ${cell(status)}  ${cell(event.execution.statusDescription)}`;
    await write(`${asJson ? JSON.stringify(event) : line}\n`);
  }
  if (!isFinalApiStatus(status)) {
    throw new CliError(
      'The API ended the stream before the execution ended; run polony executions get to see where it stands',
      EXIT.unavailable,
    );
  }
  process.exitCode = exitCodeOf(status);
}

/** What a person wants to see of an answer: the resource in it, without the member around it. */
function unwrap(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null) return answer;
  const [first, ...others] = Object.entries(answer);
  return first === undefined || others.length > 0 ? answer : first[1];
}

/** The command of one operation of the API. */
class OperationCommand {
  readonly #pathParameters;
  readonly #queryParameters;
  readonly #fields;
  readonly #isList: boolean;
  readonly #isPaged: boolean;
  readonly #isWatchable: boolean;

  constructor(
    private readonly operation: Operation,
    private readonly settings: ResourceCommand,
  ) {
    const { parameters, body, operationId } = operation;
    this.#pathParameters = parameters.filter((each) => each.in === 'path');
    const query = parameters.filter((each) => each.in === 'query');
    this.#queryParameters = query.filter(({ name }) => !PAGING.has(name));
    this.#fields = Object.entries(body?.properties ?? {});
    this.#isList = settings.columns !== undefined;
    this.#isPaged = query.some(({ name }) => name === 'pageToken');
    this.#isWatchable = WATCHABLE.has(operationId);
  }

  /** Adds the command with its arguments and flags. */
  addTo(parent: Command): void {
    const { summary, description } = this.operation;
    const command = addConnectionFlags(
      parent.command(this.settings.verb).description(summary.replace(/^./, (letter) => letter.toLowerCase())),
    );
    if (description !== undefined) command.addHelpText('after', `\n${description}`);
    this.#addArguments(command);
    for (const { name, schema, description: ofParameter } of this.#queryParameters)
      command.addOption(createFlag(flagKind(schema), name, ofParameter ?? schema.description ?? ''));
    if (this.#isList) this.#addListFlags(command);
    this.#addBodyFlags(command);
    if (this.operation.parameters.some(({ name }) => name === 'idempotency-key'))
      command.option(
        '--idempotency-key <key>',
        'makes the command repeatable: the same key and input get the same answer',
      );
    if (this.#isWatchable)
      command.option('--watch', 'follow the execution until it ends; the exit code says how it ended');
    command.action(async (...args: unknown[]) => this.#run(args.slice(0, -2) as string[], args.at(-2) as Flags));
  }

  #addArguments(command: Command): void {
    for (const [at, { name }] of this.#pathParameters.entries()) {
      const isNamed = at === 0 && hasNames(this.settings.group);
      command.argument(`<${isNamed ? 'id-or-name' : flagName(name).replace('_', '-')}>`);
    }
  }

  #addListFlags(command: Command): void {
    command.option('--no-headers', 'print rows without headings');
    if (this.#isPaged)
      command
        .option('--max-items <number>', 'largest number of items; 0 for all', parseWholeNumber, 0)
        .option('--page-size <number>', 'number of items in each request', parseWholeNumber);
    command.option('--watch [seconds]', 'print the list again every so many seconds', parseWholeNumber);
  }

  #addBodyFlags(command: Command): void {
    for (const [name, schema] of this.#fields) {
      const flag = createFlag(flagKind(schema), name, schema.description ?? '');
      command.addOption(schema.enum === undefined ? flag : flag.choices(schema.enum));
    }
    if (this.operation.body !== undefined)
      command.option(
        '--data <json>',
        'the whole body as JSON, @file, or - for standard input; other flags override its fields',
        parseJson,
      );
  }

  async #run(args: string[], flags: Flags): Promise<void> {
    const api = connectionOf(flags);
    const path: Record<string, string> = {};
    for (const [at, { name }] of this.#pathParameters.entries())
      path[name] = at === 0 ? await resolveId(api, this.settings.group, args[at]!) : args[at]!;
    const query: Record<string, unknown> = {};
    for (const { name } of this.#queryParameters) {
      const value = flagValue(flags, name);
      if (value !== undefined) query[name] = value;
    }
    if (this.#isList) return this.#list(api, path, query, flags);
    const body = await this.#buildBody(api, flags);
    const headers = this.#buildHeaders(flags);
    const answer = await request(api, this.operation.method, this.operation.path, { path, query, body, headers });
    return this.#printAnswer(api, answer, flags);
  }

  async #list(api: Profile, path: Record<string, string>, query: Record<string, unknown>, flags: Flags): Promise<void> {
    const {
      maxItems: given = 0,
      pageSize,
      watch,
    } = flags as { maxItems?: number; pageSize?: number; watch?: number | true };
    const maxItems = given === 0 ? Infinity : given;
    if (pageSize !== undefined || (this.#isPaged && Number.isFinite(maxItems)))
      query.pageSize = Math.max(1, Math.min(MAX_PAGE_SIZE, pageSize ?? maxItems));
    else if (this.#isPaged) query.pageSize = MAX_PAGE_SIZE;
    const list: ListRequest = { api, operation: this.operation, command: this.settings, path, query, maxItems };
    const format = { asJson: flags.json === true, hasHeadings: flags.headers !== false };
    return watch === undefined ? printList(list, format) : watchList(list, format, watch);
  }

  async #buildBody(api: Profile, flags: Flags): Promise<Record<string, unknown> | undefined> {
    if (this.operation.body === undefined) return undefined;
    const { data } = flags;
    if (data !== undefined && (typeof data !== 'object' || data === null || Array.isArray(data)))
      throw new CliError('--data must be a JSON object', EXIT.usage);
    const body = { ...(data as Record<string, unknown> | undefined) };
    for (const [name] of this.#fields) {
      const value = flagValue(flags, name);
      if (value !== undefined) body[name] = value;
    }
    for (const [name, group] of Object.entries(REFERENCES))
      if (typeof body[name] === 'string') body[name] = await resolveId(api, group, body[name]);
    return body;
  }

  #buildHeaders({ idempotencyKey }: Flags): Record<string, string> | undefined {
    if (idempotencyKey === undefined) return undefined;
    if (!/^[\x21-\x7e]+$/.test(idempotencyKey as string))
      throw new CliError('--idempotency-key must have only letters, digits and signs, without spaces', EXIT.usage);
    return { 'idempotency-key': idempotencyKey as string };
  }

  async #printAnswer(api: Profile, answer: unknown, flags: Flags): Promise<void> {
    const asJson = flags.json === true;
    if (this.#isWatchable && flags.watch !== undefined) {
      const { id } = (answer as { execution: { id: string } }).execution;
      if (!asJson && this.operation.method !== 'GET') process.stdout.write(`${thingTable({ id })}\n`);
      return followExecution(api, id, asJson);
    }
    if (this.operation.operationId === 'ExecutionService_GetExecutionLogs' && !asJson) {
      const { error, log } = answer as { error: string; log: string };
      if (error !== '') process.stderr.write(`${lines(error)}\n`);
      return write(log === '' || log.endsWith('\n') ? lines(log) : `${lines(log)}\n`);
    }
    print(asJson, answer ?? {}, () => thingTable(unwrap(answer)));
  }
}

/** Adds a command for every operation of the API that people use. */
export function addResourceCommands(program: Command): void {
  const groups = new Map<string, Command>();
  for (const [operationId, operation] of operations()) {
    const settings = COMMANDS[operationId];
    if (settings === undefined) continue;
    const group =
      groups.get(settings.group) ?? program.command(settings.group).description(GROUPS[settings.group] ?? '');
    groups.set(settings.group, group);
    new OperationCommand(operation, settings).addTo(group);
  }
}
