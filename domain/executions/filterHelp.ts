import type { EXECUTION_FILTER } from './filter.js';

const UNKNOWN = 'polony never knows it, so no execution matches';

/** What the keywords of executions mean. */
export const EXECUTION_FILTER_HELP: Readonly<Record<keyof typeof EXECUTION_FILTER, string>> = {
  name: 'Name of the execution',
  id: 'ID of the execution',
  status: 'Status of the execution',
  blocked: 'Whether the execution waits for a person',
  platform: 'Where the execution runs; always aws_omics',
  'output.kind': 'What the execution produced',
  time_created: 'When the execution was accepted',
  time_started: 'When HealthOmics started the run',
  time_completed: 'When the execution ended',
  time_updated: 'When polony last updated the execution',
  'input.run.id': 'ID of the run',
  'input.run.name': 'Name of the run',
  'input.run.instrument_name': 'Name of the instrument of the run',
  'input.execution.id': UNKNOWN,
  'input.execution.name': UNKNOWN,
  'flow.name': 'Name of the flow',
  'workflow.name': 'Name of the HealthOmics workflow',
  started_by: 'Who started the execution',
};
