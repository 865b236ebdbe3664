import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { Body } from './body.js';
import { CliError, EXIT } from './exit.js';
import { type Flags, parseList } from './flags.js';
import type { Profile } from './profiles.js';
import { type PreparedRequest, request } from './requests.js';
import { rotateKey } from './rotateKey.js';

/** What a command does beyond its operation. */
interface Extension {
  /** Adds flags that are no fields of the body. */
  addFlags?: (command: Command) => void;
  /** Sends the request and prints the answer, where one request and one table are not enough. */
  perform?: (prepared: PreparedRequest) => Promise<void>;
  /** Changes the body before names in it become IDs. @throws CliError */
  completeBody?: (body: Body, flags: Flags, context: { api: Profile; path: Record<string, string> }) => Promise<void>;
}

const STANDARD_INPUT = 0;

/** Reads a run manifest. @throws CliError for what is no UTF-8 text */
function readManifest(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file === '-' ? STANDARD_INPUT : file);
  } catch (error) {
    throw new CliError(`--manifest-file cannot be read: ${(error as Error).message}`, EXIT.usage);
  }
  if (bytes.length === 0) throw new CliError(`--manifest-file: ${file} is empty`, EXIT.usage);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new CliError(`--manifest-file: ${file} is not UTF-8 text. Save it as CSV in UTF-8`, EXIT.usage);
  }
}

const manifestFile: Extension = {
  addFlags: (command) =>
    void command.option(
      '--manifest-file <file>',
      'a run manifest on this machine, or - for standard input, in place of the one in the run folder',
    ),
  completeBody: async (body, { manifestFile: file, manifest }) => {
    if (file === undefined) return;
    if (manifest !== undefined) throw new CliError('Give either --manifest or --manifest-file', EXIT.usage);
    body.manifest = { content: readManifest(file as string) };
  },
};

interface AutoStart {
  storageConnectionIds?: string[];
  instruments?: string[];
  runNames?: string[];
}

function autoStartOf({ autoStartStorage, autoStartInstruments, autoStartRunNames }: Flags): AutoStart {
  return {
    ...(autoStartStorage !== undefined && { storageConnectionIds: autoStartStorage as string[] }),
    ...(autoStartInstruments !== undefined && { instruments: autoStartInstruments as string[] }),
    ...(autoStartRunNames !== undefined && { runNames: autoStartRunNames as string[] }),
  };
}

async function loadAutoStart(api: Profile, id: string | undefined): Promise<AutoStart> {
  if (id === undefined) return {};
  const { flow } = (await request(api, 'GET', '/v1/flows/{id}', { path: { id } })) as {
    flow: { autoStart: AutoStart };
  };
  return flow.autoStart;
}

const autoStart: Extension = {
  addFlags: (command) =>
    void command
      .option(
        '--auto-start-storage <list>',
        'start the flow automatically for complete runs in these storage connections: IDs or names, ' +
          'separated by commas, or repeat the flag',
        parseList,
      )
      .option(
        '--auto-start-instruments <list>',
        'only for runs of these instruments; * matches any characters',
        parseList,
      )
      .option('--auto-start-run-names <list>', 'only for runs with these names; * matches any characters', parseList)
      .option('--no-auto-start', 'never start the flow automatically'),
  completeBody: async (body, flags, { api, path }) => {
    if (body.autoStart === false) body.autoStart = { storageConnectionIds: [] };
    const given = autoStartOf(flags);
    if (Object.keys(given).length === 0) return;
    if (flags.autoStart !== undefined)
      throw new CliError('Give either --auto-start, --no-auto-start, or the flags --auto-start-…', EXIT.usage);
    const before = (body.autoStart as AutoStart | undefined) ?? (await loadAutoStart(api, path.id));
    const merged = { ...before, ...given };
    if ((merged.storageConnectionIds ?? []).length === 0)
      throw new CliError('The flags --auto-start-… need --auto-start-storage too', EXIT.usage);
    body.autoStart = merged;
  },
};

/** By the operation. */
export const EXTENSIONS: Readonly<Record<string, Extension>> = {
  AuthService_RotateApiKey: { perform: rotateKey },
  ExecutionService_CreateExecution: manifestFile,
  ExecutionService_RelaunchExecution: manifestFile,
  RunService_CheckManifest: manifestFile,
  FlowService_CreateFlow: autoStart,
  FlowService_UpdateFlow: autoStart,
};
