import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { WorkflowHandle } from '@temporalio/client';

export type History = Awaited<ReturnType<WorkflowHandle['fetchHistory']>>;

/** A larger history is compressed. */
const LARGE_BYTES = 100_000;

/** Converts between histories and their JSON, as Temporal's own tools write it. */
interface HistoryJson {
  fromJson: (json: unknown) => History;
  toJson: (history: History) => { events: unknown[] };
}

// `historyToJSON` and `historyFromJSON` of the SDK fail with "type must be a Type" where npm installs protobufjs twice:
// they use the copy of @temporalio/common, and the types come from the copy of @temporalio/proto. This uses one copy.
const historyJson = ((): HistoryJson => {
  const requireFromCommon = createRequire(createRequire(import.meta.url).resolve('@temporalio/common'));
  const requireFromProto = createRequire(requireFromCommon.resolve('@temporalio/proto'));
  const { fromJson, toJson } = requireFromProto('protobufjs/ext/protojson') as {
    fromJson: (type: unknown, json: unknown, options: object) => History;
    toJson: (type: unknown, message: unknown) => { events: unknown[] };
  };
  const proto: unknown = requireFromCommon('@temporalio/proto');
  const { patchProtobufRoot } = requireFromCommon('@temporalio/proto/lib/patch-protobuf-root') as {
    patchProtobufRoot: (root: unknown) => { lookupType: (name: string) => { fromObject: (object: object) => unknown } };
  };
  const type = patchProtobufRoot(proto).lookupType('temporal.api.history.v1.History');
  return {
    fromJson: (json) => fromJson(type, json, { ignoreUnknownFields: true }),
    toJson: (history) => toJson(type, type.fromObject(history)),
  };
})();

/** Whether a history is recorded. @param file without its ending. */
export function hasHistory(file: string): boolean {
  return existsSync(`${file}.json`) || existsSync(`${file}.json.gz`);
}

/** Reads a history. @param file without its ending. */
export function readHistory(file: string): History {
  const text = existsSync(`${file}.json`)
    ? readFileSync(`${file}.json`, 'utf8')
    : gunzipSync(readFileSync(`${file}.json.gz`)).toString();
  return historyJson.fromJson(JSON.parse(text));
}

/**
 * Writes a history, one event per line, without its stack traces. They name files of this machine, and workflows do not
 * see them.
 * @param file without its ending.
 * @param secrets texts that must not be in a history, such as names of this machine
 * @throws Error if the history contains one of them
 */
export function writeHistory(file: string, history: History, secrets: readonly string[]): void {
  const withoutStackTraces = JSON.stringify(historyJson.toJson(history), (key, value: unknown) =>
    key === 'stackTrace' ? '' : value,
  );
  const { events } = JSON.parse(withoutStackTraces) as { events: unknown[] };
  const text = `{"events":[\n${events.map((event) => JSON.stringify(event)).join(',\n')}\n]}\n`;
  const found = secrets.find((secret) => text.includes(secret));
  if (found !== undefined) throw new Error(`${file} was not written because it names this machine (${found})`);
  mkdirSync(path.dirname(file), { recursive: true });
  if (text.length > LARGE_BYTES) writeFileSync(`${file}.json.gz`, gzipSync(text, { level: 9 }));
  else writeFileSync(`${file}.json`, text);
}
