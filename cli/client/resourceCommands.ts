import type { Command } from 'commander';
import { BLOCKED_LISTS, type BlockedList, blockedMarker } from './blocked.js';
import { addBodyFlags, type Body, buildBody, requireFields, requireFlags, resolveNames } from './body.js';
import { CliError, EXIT } from './exit.js';
import { EXTENSIONS } from './extensions.js';
import { addConnectionFlags, createFlag, flagValue, type Flags, parseWholeNumber } from './flags.js';
import { followExecution, followRun, waitForId } from './follow.js';
import { commandHelp, flagHelp } from './help.js';
import { itemsName, type ListRequest, printList, repeat } from './lists.js';
import { nounOf, resolveAny, resolveCaller, resolveGrant, resolveId } from './names.js';
import {
  COMMANDS,
  flagKind,
  flagName,
  GROUPS,
  type Operation,
  operations,
  type ResourceCommand,
} from './operations.js';
import { lines, print, thingTable, write } from './output.js';
import { connectionOf, type Profile } from './profiles.js';
import { request } from './requests.js';
import { verificationTable, verifyAndWait } from './verification.js';

/** Query parameters that the commands set themselves. */
const PAGING = new Set(['pageSize', 'pageToken', 'includeTotalCount']);
const MAX_PAGE_SIZE = 1000;
/** Query parameters that take names too. */
const NAMED_PARAMETERS: Readonly<Record<string, (api: Profile, value: string) => Promise<string>>> = {
  'AuditService_ListAuditLog.callerId': resolveCaller,
  'AuditService_ListAuditLog.resourceId': resolveAny,
  'AuditService_ExportAuditLog.callerId': resolveCaller,
  'AuditService_ExportAuditLog.resourceId': resolveAny,
};

type Follow = 'execution' | 'run' | 'verification';

/** Operations whose command can follow what it names to its end. */
const WATCHABLE: Readonly<Record<string, Follow>> = {
  RunService_GetRunDetails: 'run',
  RunService_RetryRun: 'run',
  ExecutionService_GetExecutionDetails: 'execution',
  ExecutionService_CreateExecution: 'execution',
  ExecutionService_RelaunchExecution: 'execution',
  ExecutionService_CancelExecution: 'execution',
  ExecutionService_RetryExecution: 'execution',
};

const WATCH_HELP: Readonly<Record<Follow, string>> = {
  execution: 'follow the execution until it ends; the exit code says how it ended',
  run: 'follow the upload of the run until it ends; the exit code says how the run ended',
  verification: 'wait for the result and print it; the exit code is 1 if the verification failed',
};

/** What a verification is of, by the group of commands. */
const VERIFIED = {
  providers: 'provider',
  storage: 'storageConnection',
  compute: 'computeConnection',
  flows: 'flow',
} as const;

const isVerify = ({ operationId }: Operation): boolean => /_Verify[A-Z]/.test(operationId);
const isVerification = ({ operationId }: Operation): boolean => operationId.endsWith('Verification');

/** What a person wants to see of an answer: the resource in it, without the member around it. */
function unwrap(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null) return answer;
  const [first, ...others] = Object.entries(answer);
  return first === undefined || others.length > 0 ? answer : first[1];
}

/** The id of the run or execution that an answer has. */
function idIn(answer: unknown, follow: 'execution' | 'run'): string {
  return (answer as Record<typeof follow, { id: string }>)[follow].id;
}

/** The command of one operation of the API. */
class OperationCommand {
  readonly #pathParameters;
  readonly #queryParameters;
  readonly #isList: boolean;
  readonly #isPaged: boolean;
  readonly #follow: Follow | undefined;
  readonly #blocked: BlockedList | undefined;

  constructor(
    private readonly operation: Operation,
    private readonly settings: ResourceCommand,
  ) {
    const { parameters, operationId } = operation;
    this.#pathParameters = parameters.filter((each) => each.in === 'path');
    const query = parameters.filter((each) => each.in === 'query');
    this.#queryParameters = query.filter(({ name }) => !PAGING.has(name));
    this.#isList = settings.columns !== undefined;
    this.#isPaged = query.some(({ name }) => name === 'pageToken');
    this.#follow = isVerify(operation) ? 'verification' : WATCHABLE[operationId];
    this.#blocked = BLOCKED_LISTS[operationId];
  }

  /** Adds the command with its arguments and flags. */
  addTo(parent: Command): void {
    const { summary, parameters, operationId } = this.operation;
    const command = parent
      .command(this.settings.verb)
      .description(summary.replace(/^./, (letter) => letter.toLowerCase()));
    const help = commandHelp(this.operation);
    if (help !== undefined) command.addHelpText('after', `\n${help}`);
    this.#addArguments(command);
    for (const { name, schema, description, required } of this.#queryParameters) {
      const text = flagHelp(this.operation, name, description ?? schema.description ?? '', required === true);
      const flag = createFlag(flagKind(schema), name, text);
      command.addOption(schema.enum === undefined ? flag : flag.choices(schema.enum));
    }
    if (this.#isList) this.#addListFlags(command);
    addBodyFlags(command, this.operation);
    EXTENSIONS[operationId]?.addFlags?.(command);
    if (parameters.some(({ name }) => name === 'idempotency-key'))
      command.option(
        '--idempotency-key <key>',
        'makes the command repeatable: the same key and input get the same answer',
      );
    if (this.#follow !== undefined) command.option('--watch', WATCH_HELP[this.#follow]);
    addConnectionFlags(command);
    command.action(async (...args: unknown[]) => this.#run(args.slice(0, -2) as string[], args.at(-2) as Flags));
  }

  #addArguments(command: Command): void {
    const { group } = this.settings;
    for (const [at, { name }] of this.#pathParameters.entries()) {
      const noun = at === 0 ? nounOf(group) : undefined;
      if (noun !== undefined)
        command.argument('<id-or-name>', `ID or ${group === 'webhooks' ? 'URL' : 'name'} of the ${noun}`);
      else if (name === 'grant_id')
        command.argument('<id-or-principal>', 'ID of the grant, or the principal it is for');
      else command.argument(`<${flagName(name).replace('_', '-')}>`, 'serial number or name of the instrument');
    }
  }

  #addListFlags(command: Command): void {
    command.option('--no-headers', 'print rows without headings');
    if (this.#isPaged)
      command
        .option('--max-items <number>', 'largest number of items; 0 for all', parseWholeNumber, 0)
        .option('--page-size <number>', 'number of items in each request; default: 1000', parseWholeNumber);
    if (this.#blocked !== undefined)
      command.option('--blocked', 'only those that wait for a person, with the reason and what to do');
    command.option('--watch [seconds]', 'print the list again every so many seconds; default: 5', parseWholeNumber);
  }

  async #run(args: string[], flags: Flags): Promise<void> {
    const missing = this.#queryParameters.filter(
      ({ name, required }) => required === true && flagValue(flags, name) === undefined,
    );
    requireFlags(missing.map(({ name }) => `--${flagName(name)}`));
    const api = connectionOf(flags);
    const path = await this.#resolvePath(api, args, flags);
    const query = await this.#buildQuery(api, flags);
    if (this.#isList) return this.#list(api, path, query, flags);
    const body = await this.#buildBody(api, path, flags);
    const headers = this.#buildHeaders(flags);
    const send = (sent = body): Promise<unknown> =>
      request(api, this.operation.method, this.operation.path, { path, query, body: sent, headers });
    const perform = EXTENSIONS[this.operation.operationId]?.perform;
    if (perform !== undefined) return perform({ api, query, body: body ?? {}, asJson: flags.json === true, send });
    if (this.#follow === 'verification' && flags.watch !== undefined)
      return this.#verify(api, Object.values(path)[0]!, send, flags);
    return this.#printAnswer(api, await send(), flags);
  }

  async #resolvePath(api: Profile, args: string[], flags: Flags): Promise<Record<string, string>> {
    const { group } = this.settings;
    const path: Record<string, string> = {};
    const mayAppear = this.#follow !== undefined && this.operation.method === 'GET' && flags.watch !== undefined;
    for (const [at, { name }] of this.#pathParameters.entries()) {
      const given = args[at]!;
      if (at === 0) path[name] = await (mayAppear ? waitForId : resolveId)(api, group, given);
      else path[name] = name === 'grant_id' ? await resolveGrant(api, Object.values(path)[0]!, given) : given;
    }
    return path;
  }

  async #buildQuery(api: Profile, flags: Flags): Promise<Record<string, unknown>> {
    const query: Record<string, unknown> = {};
    for (const { name } of this.#queryParameters) {
      const value = flagValue(flags, name);
      const resolve = NAMED_PARAMETERS[`${this.operation.operationId}.${name}`];
      if (value !== undefined) query[name] = typeof value === 'string' && resolve ? await resolve(api, value) : value;
    }
    return query;
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
    const format = { asJson: flags.json === true, hasHeadings: flags.headers !== false };
    const show = (): Promise<void> => printList({ api, path, query, maxItems, ...this.#listed(api, flags) }, format);
    return watch === undefined ? show() : repeat(show, watch);
  }

  /** What the list shows, and where it is. */
  #listed(api: Profile, flags: Flags): Pick<ListRequest, 'operationPath' | 'items' | 'columns' | 'completeRows'> {
    const blocked = this.#blocked;
    if (blocked !== undefined && flags.blocked === true)
      return { operationPath: blocked.path, items: blocked.items, columns: blocked.columns };
    return {
      operationPath: this.operation.path,
      items: itemsName(this.operation, this.settings),
      columns: this.settings.columns!,
      ...(blocked !== undefined && { completeRows: blockedMarker(api, blocked) }),
    };
  }

  async #buildBody(api: Profile, path: Record<string, string>, flags: Flags): Promise<Body | undefined> {
    if (this.operation.body === undefined) return undefined;
    const body = buildBody(this.operation, flags);
    await EXTENSIONS[this.operation.operationId]?.completeBody?.(body, flags, { api, path });
    requireFields(this.operation, body);
    await resolveNames(api, body);
    return body;
  }

  #buildHeaders({ idempotencyKey }: Flags): Record<string, string> | undefined {
    if (idempotencyKey === undefined) return undefined;
    if (!/^[\x21-\x7e]+$/.test(idempotencyKey as string))
      throw new CliError('--idempotency-key must have only letters, digits and signs, without spaces', EXIT.usage);
    return { 'idempotency-key': idempotencyKey as string };
  }

  async #verify(api: Profile, id: string, send: () => Promise<unknown>, flags: Flags): Promise<void> {
    const kind = VERIFIED[this.settings.group as keyof typeof VERIFIED];
    const verification = await verifyAndWait(api, { kind, id }, send);
    print(flags.json === true, { verification }, () => verificationTable(verification));
    if (verification.status === 'VERIFICATION_STATUS_FAILED') process.exitCode = EXIT.failed;
  }

  async #printAnswer(api: Profile, answer: unknown, flags: Flags): Promise<void> {
    const asJson = flags.json === true;
    if ((this.#follow === 'execution' || this.#follow === 'run') && flags.watch !== undefined) {
      const id = idIn(answer, this.#follow);
      if (!asJson && this.operation.method !== 'GET') process.stdout.write(`${thingTable({ id })}\n`);
      return (this.#follow === 'run' ? followRun : followExecution)(api, id, asJson);
    }
    if (this.operation.operationId === 'ExecutionService_GetExecutionLogs' && !asJson) {
      const { error, log } = answer as { error: string; log: string };
      if (error !== '') process.stderr.write(`${lines(error)}\n`);
      return write(log === '' || log.endsWith('\n') ? lines(log) : `${lines(log)}\n`);
    }
    print(asJson, answer ?? {}, () =>
      isVerification(this.operation)
        ? verificationTable((answer as { verification: Parameters<typeof verificationTable>[0] }).verification)
        : thingTable(unwrap(answer)),
    );
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
