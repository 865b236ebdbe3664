const RESOURCES: readonly (readonly [string, string])[] = [
  ['provider', 'Providers'],
  ['storage_connection', 'Storage connections'],
  ['compute_connection', 'Compute connections'],
  ['flow', 'Flows'],
];

/** The events that webhooks receive, by what they are about (docs/reference/events.md). */
export const EVENT_GROUPS: readonly { label: string; events: readonly string[] }[] = [
  {
    label: 'Runs',
    events: ['uploading', 'stalled', 'resumed', 'blocked', 'unblocked', 'uploaded', 'failed', 'vanished'].map(
      (each) => `run.${each}`,
    ),
  },
  {
    label: 'Executions',
    events: [
      ...['untriggered', 'initialized', 'pending', 'running', 'completed', 'failed', 'canceled', 'blocked'],
      'unblocked',
    ].map((each) => `execution.${each}`),
  },
  ...RESOURCES.map(([resource, label]) => ({
    label,
    events: [
      ...(resource === 'provider' ? ['provider.credentials_changed'] : []),
      ...['created', 'connected', 'warning', 'failed', 'deleted'].map((each) => `${resource}.${each}`),
    ],
  })),
];
