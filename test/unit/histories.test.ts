import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { logErrorsOnly, workflowSource } from '../testStack.js';
import { readHistory } from '../histories/historyFile.js';
import * as workflows from '../../workflows/index.js';

// Workflows that run while you upgrade polony continue with the new code, which must make the same decisions again.
// See test/histories/README.md.
const folder = fileURLToPath(new URL('../histories/', import.meta.url));
const SUFFIX = /\.json(\.gz)?$/;

const histories = new Map(
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => SUFFIX.test(file))
    .map((file) => file.replace(SUFFIX, ''))
    .sort()
    .map((file) => [file.split(path.sep).join('/'), readHistory(path.join(folder, file))]),
);

describe('a recorded history', () => {
  const errors = new Map<string, unknown>();

  beforeAll(async () => {
    logErrorsOnly();
    const replays = Worker.runReplayHistories(
      workflowSource(),
      [...histories].map(([workflowId, history]) => ({ workflowId, history })),
    );
    for await (const { workflowId, error } of replays) errors.set(workflowId, error);
  }, 240_000);

  it.each([...histories.keys()])('replays %s', (name) => {
    expect([...errors.keys()]).toContain(name);
    expect(errors.get(name)).toBeUndefined();
  });
});

it('records every workflow type', () => {
  const recorded = new Set(
    [...histories.values()].map(
      ({ events }) => events?.[0]?.workflowExecutionStartedEventAttributes?.workflowType?.name,
    ),
  );
  expect([...recorded].sort()).toEqual(Object.keys(workflows).sort());
});

it('records a marker for the patch that starts the next attempt', () => {
  const withNextAttempt = [...histories].filter(([, { events }]) =>
    events?.some((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'nextAttempt'),
  );
  expect(withNextAttempt.length).toBeGreaterThan(0);
  for (const [name, { events }] of withNextAttempt) {
    const markers = events?.filter((event) => event.markerRecordedEventAttributes?.markerName === 'core_patch');
    expect(markers?.length, name).toBeGreaterThan(0);
  }
});
