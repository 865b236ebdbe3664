import { describe, expect, it } from 'vitest';
import { InputError } from '../../domain/errors.js';
import { buildRunParameters, toExecutionStatus } from '../../domain/executions/execution.js';

describe('a HealthOmics run', () => {
  const template = { run_dir: {}, no_projects: { optional: true }, num_unassigned: { optional: true } };
  it('gets --no-projects always, and no parameter that its template does not name', () => {
    expect(buildRunParameters(template, {}, { num_unassigned: 5 }, { runDir: 's3://b/r' })).toEqual({
      run_dir: 's3://b/r',
      no_projects: true,
      num_unassigned: 5,
    });
    expect(() => buildRunParameters(template, {}, { no_projects: false }, { runDir: 's3://b/r' })).toThrow(InputError);
    expect(() => buildRunParameters(template, {}, { other: 1 }, { runDir: 's3://b/r' })).toThrow(/no such parameter/);
    expect(() => buildRunParameters({ where: {} }, {}, {}, { runDir: 's3://b/r' })).toThrow(/parameterNames.runDir/);
    expect(buildRunParameters({ where: {} }, { runDir: 'where' }, {}, { runDir: 's3://b/r' })).toEqual({
      where: 's3://b/r',
    });
  });
  it('is running while STOPPING, and canceled when someone else cancels it', () => {
    expect(
      ['STARTING', 'STOPPING', 'CANCELLED', 'DELETED'].map((status) => toExecutionStatus(status as never)),
    ).toEqual(['PENDING', 'RUNNING', 'CANCELED', 'FAILED']);
  });
  it('rejects a parameter that is named like a member of every JavaScript object', () => {
    expect(() =>
      buildRunParameters({ run_dir: {}, no_projects: {} }, {}, { constructor: 1 }, { runDir: 's3://b/r' }),
    ).toThrow(/no such parameter/);
  });
});
