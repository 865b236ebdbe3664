/** @module-tag long */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findNamedUris } from '../../domain/executions/namedUris.js';
import { listReadings } from '../../domain/executions/uriReadings.js';
import { normalizePrefix, prefixesOverlap } from '../../domain/connections/storage.js';
import { type IamRequest, PolicyJudge } from '../../domain/iam/evaluatePolicy.js';
import { type Location, withoutNested } from '../../domain/iam/locations.js';
import { checkPolicy } from '../../domain/iam/policyCheck.js';
import { parseIamPolicy } from '../../domain/iam/parsePolicy.js';
import { cover, PatternIndex, readPattern, readTarget } from '../../domain/iam/patterns.js';
import { findJsonExcess, isDeeperThan } from '../../domain/json.js';
import { checkRunManifest } from '../../domain/runs/manifestCheck.js';
import { findManifestOverrides } from '../../domain/runs/manifestOverrides.js';
import { SHAPES, textOf } from '../largestBodies.js';

// Algorithms that were replaced by linear ones still give the results of the simple ones, and take no longer than their
// input is long.

const text = fc.array(fc.constantFrom('a', 'b', '*', '?'), { maxLength: 5 }).map((parts) => parts.join(''));

describe('an index of patterns', () => {
  it('finds what a comparison with each pattern finds', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(text, fc.nat(3))), text, (patterns, wide) => {
        const target = readTarget(wide.replaceAll('?', 'a'));
        const owned = patterns.map(([pattern, owner]) => ({ pattern: readPattern(pattern, true), owner }));
        const expected = [0, 1, 2, 3].flatMap((owner) => {
          const covers = owned.filter((each) => each.owner === owner).map(({ pattern }) => cover(pattern, target));
          return covers.includes('all') ? [[owner, 'all']] : covers.includes('some') ? [[owner, 'some']] : [];
        });
        const found = [...new PatternIndex(owned).cover(target)].sort(([one], [other]) => one - other);
        expect(found).toEqual(expected);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a policy', () => {
  it('has the statements that apply to a request, as each alone would', () => {
    const action = fc.constantFrom('*', 's3:*', 's3:GetObject', 's3:Put*', 'omics:*');
    const resource = fc.constantFrom('*', 'arn:aws:s3:::a/*', 'arn:aws:s3:::a/b/*', 'arn:aws:s3:::*', 'arn:aws:s3:::b');
    const statement = fc.tuple(fc.boolean(), action, fc.boolean(), fc.array(resource, { minLength: 1 }), fc.boolean());
    const request = fc.record({
      action: fc.constantFrom('s3:GetObject', 's3:PutObject', 'omics:GetRun'),
      resource: fc.constantFrom('*', 'arn:aws:s3:::a/*', 'arn:aws:s3:::a/b/c', 'arn:aws:s3:::b', 'arn:aws:s3:::c/*'),
      context: fc.constantFrom<Record<string, string>>({ 'aws:SecureTransport': 'true' }, {}),
    });
    fc.assert(
      fc.property(fc.array(statement, { minLength: 1 }), fc.array(request), (rows, requests: IamRequest[]) => {
        const statements = rows.map(([isExcept, Action, isResourceExcept, Resource, hasCondition]) => ({
          Effect: 'Allow',
          [isExcept ? 'NotAction' : 'Action']: Action,
          [isResourceExcept ? 'NotResource' : 'Resource']: Resource,
          ...(hasCondition && { Condition: { Bool: { 'aws:SecureTransport': 'false' } } }),
        }));
        const parse = (Statement: object[]) => parseIamPolicy({ Version: '2012-10-17', Statement });
        const whole = new PolicyJudge(parse(statements));
        const each = statements.map((one) => new PolicyJudge(parse([one])));
        for (const one of requests)
          expect(whole.judge(one)).toEqual(
            each.flatMap((judge, index) => judge.judge(one).map((judgement) => ({ ...judgement, index }))),
          );
      }),
    );
  });
});

describe('the check of a policy', () => {
  /** The least CPU time of five checks, in milliseconds: this process's own, and without chance. */
  const cost = (resources: number, pattern: (at: number) => string): number => {
    const Resource = Array.from({ length: resources }, (_, at) => pattern(at));
    const policy = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 's3:*', Resource }] };
    return Math.min(
      ...Array.from({ length: 5 }, () => {
        const before = process.cpuUsage();
        checkPolicy({ policy });
        const { user, system } = process.cpuUsage(before);
        return (user + system) / 1000;
      }),
    );
  };
  it.each<[string, (at: number) => string]>([
    ['buckets', (at) => `arn:aws:s3:::bucket${at}`],
    ['folders', (at) => `arn:aws:s3:::bb${at}/r/*`],
    ['folders of one bucket', (at) => `arn:aws:s3:::bbb/r${at}/*`],
  ])('takes the time of the number of its %s', (_name, pattern) => {
    cost(100, pattern);
    // Eight times as many. Each with each would take 64 times as long.
    expect(cost(360, pattern) / cost(45, pattern)).toBeLessThan(32);
  });
});

describe('locations', () => {
  it('lose those within another, as a comparison of each with each says', () => {
    const location = fc.record({
      bucket: fc.constantFrom('a', 'b'),
      prefix: fc.constantFrom('', 'x', 'x/y', 'x/y/z', 'xy', 'y'),
    });
    const isWithin = (inner: Location, outer: Location): boolean =>
      inner.bucket === outer.bucket &&
      prefixesOverlap(inner.prefix, outer.prefix) &&
      inner.prefix.length >= outer.prefix.length;
    fc.assert(
      fc.property(fc.array(location), (all) => {
        const expected = all.filter(
          (one, index) =>
            !all.some((other, at) => at !== index && isWithin(one, other) && (!isWithin(other, one) || at < index)),
        );
        expect(withoutNested(all)).toEqual(expected);
      }),
    );
  });
});

describe('the size of a JSON text', () => {
  const depthOf = (value: unknown): number =>
    typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;
  it('is the one of its value', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), fc.nat(6), (json, depth) => {
        const value = JSON.parse(json) as unknown;
        expect(findJsonExcess(json, { depth, values: Infinity })?.limit).toBe(
          depthOf(value) > depth ? 'depth' : undefined,
        );
        expect(isDeeperThan(value, depth)).toBe(depthOf(value) > depth);
      }),
    );
  });
  it('counts values, and not what is in texts', () => {
    const excess = (json: string, values: number): unknown => findJsonExcess(json, { depth: 9, values });
    expect(excess('{"a":[1,2,"],[\\"{,"]}', 5)).toBeUndefined();
    expect(excess('{"a":[1,2,"],[\\"{,"],"b\\"" : [1,2,3]}', 8)).toEqual({ limit: 'values', member: 'b\\"' });
    expect(excess('[1,2,3]', 3)).toEqual({ limit: 'values', member: undefined });
    expect(excess('"unfinished \\', 1)).toBeUndefined();
  });
});

describe('a text that is hard for patterns', () => {
  // A pattern that tries every way to split the text would take hours.
  it.each(SHAPES)('of %j takes no time', (part, end) => {
    const long = textOf([part, end], 1_000_000);
    normalizePrefix(long);
    findManifestOverrides({ settings: `I1Mask,${long}`, extra: long });
    findNamedUris('parameters', { [long]: long });
    listReadings(`s3://lab/${long}`);
    checkRunManifest('[Samples]\nSampleName\nS1\n', { parameters: { settings: `I1Mask,${long}` }, cycles: { I1: 8 } });
    checkRunManifest(`[Settings]\nSettingName,Value\nI1Mask,${long.replaceAll('\n', '')}`, { cycles: { I1: 8 } });
  });
});

describe('a run manifest', () => {
  const index = (at: number): string => Array.from({ length: 8 }, (_, base) => 'ACGT'[(at >> (2 * base)) & 3]).join('');
  const indexes = (count: number, at: number): string =>
    Array.from({ length: count }, (_, each) => index(at * count + each)).join('+');
  const settings = '[Settings]\nSettingName,Value\nI1MismatchThreshold,99999\nI2MismatchThreshold,0\n';
  // Compared each with each, these would take minutes to hours.
  it.each<[string, string, (at: number) => string]>([
    ['many columns', `[Samples]\nSampleName${',b'.repeat(1000)}\n`, () => 'a\n'],
    [
      'many indexes in each row',
      `${settings}[Samples]\nSampleName,Index1,Index2\n`,
      (at) => `S${at},A,${indexes(200, at)}\n`,
    ],
    ['long indexes', `${settings}[Samples]\nSampleName,Index1,Index2\n`, (at) => `S${at},${index(at).repeat(120)},A\n`],
    ['one name', '[Samples]\nSampleName,Index1,Index2\n', (at) => `S,${index(at)},${index(at * 7)}\n`],
    ['many settings', '[Settings]\nSettingName,Value\n', (at) => `${'Aa'[at % 2]},${at}\n`],
    ['quotes', '[Samples]\nSampleName\n', () => `${' '.repeat(1000)}x${'"'.repeat(1000)}\n`],
  ])('with %s is checked in the time of its length', (_name, head, row) => {
    const rows = [head];
    for (let length = head.length; length < 500_000;) length += rows[rows.push(row(rows.length)) - 1]!.length;
    checkRunManifest(rows.join(''), { cycles: { I1: 8, I2: 8, R1: 100, R2: 100 } });
  });
});
