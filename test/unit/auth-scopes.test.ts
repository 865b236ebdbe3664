import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../domain/errors.js';
import {
  Authorization,
  type ScopeAction,
  parseScopes,
  ACTIONS_BY_RESOURCE,
  scopesAmong,
  shownScopes,
  writeScope,
} from '../../domain/auth/scopes.js';

const access = (...texts: string[]): Authorization => new Authorization(parseScopes('scopes', texts));
const A = '01920000-0000-7000-8000-00000000000a';
const B = '01920000-0000-7000-8000-00000000000b';
const all = Object.entries(ACTIONS_BY_RESOURCE).flatMap(([resource, actions]) =>
  actions.map((action) => `${resource}:${action}` as ScopeAction),
);

describe('the scopes of an API key', () => {
  it('cover an action on all resources, on one resource, or below a prefix of a storage connection', () => {
    const only = access(
      'runs:read',
      `executions:download:${A}`,
      `storage:download:${A}/data/2026`,
      `storage:download:${A}/other/`,
      'instruments:read:AV240001',
    );
    expect(only.ids('runs:read')).toBe('all');
    expect([
      only.covers('runs:download'),
      only.covers('executions:download', A.toUpperCase()),
      only.covers('executions:download', B),
      only.covers('executions:read', A),
    ]).toEqual([false, true, false, false]);
    expect(only.prefixes('storage:download', A)).toEqual(['data/2026/', 'other/']);
    expect(only.prefixes('storage:download', B)).toEqual([]);
    expect([
      only.covers('instruments:read', 'AV240001'),
      only.covers('instruments:read', 'av240001'),
      only.covers('instruments:read', 'AV2400011'),
    ]).toEqual([true, false, false]);
    expect(access(`storage:download:${A}/x/`, `storage:download:${A}`).prefixes('storage:download', A)).toBe('all');
  });
  it('cover all actions of a resource type with `runs:*`, and everything with `*`', () => {
    expect(access('storage:*').ids('storage:share')).toBe('all');
    expect(access('storage:*').covers('runs:read')).toBe(false);
    expect(all.every((permission) => access('*').ids(permission) === 'all')).toBe(true);
    expect(shownScopes(parseScopes('scopes', ['*']))).toEqual(
      Object.keys(ACTIONS_BY_RESOURCE).map((resource) => `${resource}:*`),
    );
    expect(shownScopes(parseScopes('scopes', ['runs:read', `storage:read:${A}/x`]))).toEqual([
      'runs:read',
      `storage:read:${A}/x/`,
    ]);
  });
  it('leave out actions that cannot be narrowed when `storage:*` or `executions:*` is narrowed', () => {
    const part = access(`storage:*:${A}/x/`);
    expect([
      part.covers('storage:read', A),
      part.covers('storage:download', A),
      part.covers('storage:upload', A),
      part.covers('storage:write', A),
      part.covers('storage:share', A),
    ]).toEqual([true, true, true, false, false]);
    const one = access(`executions:*:${A}`);
    expect([one.covers('executions:operate', A), one.covers('executions:create')]).toEqual([true, false]);
  });
  it.each([
    '',
    ' ',
    'runs',
    'runs:',
    'runs:write',
    'Runs:read',
    'runs:read:',
    'runs:read: ',
    `runs:read:${A}/x`,
    `runs:read:${A}\n`,
    'runs:read:*',
    'runs:**',
    '**',
    '*:read',
    '*:*',
    'storage:download:*/x',
    'storage:download:/x',
    `storage:download:${A}//`,
    `storage:download:${A}/../x`,
    `storage:download:${A}/x/./y`,
    `storage:download:${A}/x//y`,
    `storage:download:${A}/x\u0000`,
    `storage:download:${A}/\ud800`,
    `storage:write:${A}/x`,
    `storage:share:${A}/x`,
    `executions:create:${A}`,
    `keys:write:${A}`,
    `audit:*:${A}`,
    'constructor:read',
    '__proto__:read',
    'runs:constructor',
    `storage:download:${A}/${'x'.repeat(1200)}`,
  ])('reject %j', (text) => {
    expect(() => parseScopes('scopes', ['runs:read', text])).toThrow(InputError);
    expect(scopesAmong(['runs:read', text])).toHaveLength(1);
  });
  it('are written in the form in which they are read', () => {
    for (const text of ['*', 'runs:*', 'runs:read', `storage:download:${A}/data/`, `executions:*:${A}`])
      expect(parseScopes('scopes', [text]).map(writeScope)).toEqual([text]);
  });
});

describe('the scopes that a key may give to another key', () => {
  const scope = fc.oneof(
    fc.constantFrom('*', ...all, ...Object.keys(ACTIONS_BY_RESOURCE).map((resource) => `${resource}:*`)),
    fc
      .tuple(
        fc.constantFrom(
          'runs:read',
          'runs:*',
          'storage:*',
          'storage:download',
          'storage:write',
          'executions:*',
          'executions:operate',
        ),
        fc.constantFrom(A, B),
      )
      .map(([one, id]) => `${one}:${id}`),
    fc
      .tuple(
        fc.constantFrom('storage:download', 'storage:upload', 'storage:*'),
        fc.constantFrom(A, B),
        fc.constantFrom('runs/', 'runs/x/', 'runs-secret/'),
      )
      .map(([one, id, prefix]) => `${one}:${id}/${prefix}`),
  );
  it('never exceed its own scopes', () => {
    fc.assert(
      fc.property(fc.array(scope, { maxLength: 4 }), scope, (held, wanted) => {
        const [mine, theirs] = [access(...held), access(wanted)];
        if (!mine.includes(parseScopes('scopes', [wanted])[0]!)) return;
        for (const permission of all) {
          if (theirs.ids(permission) === 'all') expect(mine.ids(permission)).toBe('all');
          for (const id of [A, B]) {
            if (theirs.covers(permission, id)) expect(mine.covers(permission, id)).toBe(true);
            const [have, get] = [mine.prefixes(permission, id), theirs.prefixes(permission, id)];
            if (get === 'all') expect(have).toBe('all');
            else if (have !== 'all')
              for (const prefix of get) expect(have.some((each) => prefix.startsWith(each))).toBe(true);
          }
        }
      }),
    );
  });
  it('include each of its own scopes', () => {
    fc.assert(
      fc.property(fc.array(scope, { minLength: 1, maxLength: 4 }), (held) =>
        held.every((one) => access(...held).includes(parseScopes('scopes', [one])[0]!)),
      ),
    );
  });
});
