import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allows, allowsAll } from '../../console/auth/allows.js';
import {
  ACTIONS_BY_RESOURCE,
  Authorization,
  parseScopes,
  type ScopeAction,
  scopesAmong,
} from '../../domain/auth/scopes.js';

const A = '01920000-0000-7000-8000-00000000000a';
const B = '01920000-0000-7000-8000-00000000000b';
const PERMISSIONS = Object.entries(ACTIONS_BY_RESOURCE).flatMap(([resource, actions]) =>
  actions.map((action) => `${resource}:${action}` as ScopeAction),
);

describe('what the console offers', () => {
  it('leaves out what needs a scope for all, where a scope has an ID', () => {
    expect(allows([`executions:*:${A}`], 'executions:create')).toBe(false);
    expect(allows([`executions:*:${A}`], 'executions:operate', A)).toBe(true);
    expect(allowsAll([`flows:*:${A}`], 'flows:write')).toBe(false);
    expect(allowsAll(['flows:*'], 'flows:write')).toBe(true);
  });

  it('leaves out what cannot be narrowed to a folder, where a scope has one', () => {
    const scopes = [`storage:*:${A}/panels/`];
    expect(allows(scopes, 'storage:download', A)).toBe(true);
    expect(allows(scopes, 'storage:write', A)).toBe(false);
    expect(allows(scopes, 'storage:share', A)).toBe(false);
  });

  it('is exactly what the API allows', () => {
    const scope = fc
      .tuple(
        fc.constantFrom(...PERMISSIONS, ...Object.keys(ACTIONS_BY_RESOURCE).map((resource) => `${resource}:*`), '*'),
        fc.constantFrom('', `:${A}`, `:${A.toUpperCase()}`, `:${A}/`, `:${A}/panels/`, ':AV240001', ':av240001'),
      )
      .map(([permission, rest]) => permission + rest)
      // The API stores and shows only these.
      .filter((text) => scopesAmong([text]).length === 1);
    fc.assert(
      fc.property(fc.array(scope, { maxLength: 4 }), fc.constantFrom(...PERMISSIONS), (scopes, permission) => {
        const access = new Authorization(parseScopes('scopes', scopes));
        for (const id of [undefined, A, B, 'AV240001'])
          expect(allows(scopes, permission, id)).toBe(access.covers(permission, id));
        expect(allowsAll(scopes, permission)).toBe(access.ids(permission) === 'all');
      }),
    );
  });
});
