import { describe, expect, it } from 'vitest';
import { checkRoleArn } from '../../domain/arn.js';
import { parseSharedWorkflow } from '../../domain/connections/flow.js';
import { checkExternalId } from '../../domain/connections/provider.js';
import { checkBucketName, checkPrefix, normalizePrefix } from '../../domain/connections/storage.js';
import { checkHealthOmicsRegion } from '../../domain/regions.js';

describe('the rules for connections', () => {
  it.each(['ab', 'Lab@7:x,y=z-1./_', 'x'.repeat(1224)])('accept the external ID %#', (value) =>
    expect(checkExternalId('externalId', value)).toEqual([]),
  );
  it.each(['a', '', 'has space', 'plus+sign', 'ümlaut', 'x'.repeat(1225)])('reject the external ID %#', (value) =>
    expect(checkExternalId('externalId', value)).not.toEqual([]),
  );
  it.each(['lab-aviti', 'my.bucket.1', 'abc'])('accept the bucket name %s', (value) =>
    expect(checkBucketName('bucket', value)).toEqual([]),
  );
  it.each([
    ['s3://lab', 'BUCKET_HAS_SCHEME'],
    ['lab/runs', 'BUCKET_HAS_PATH'],
    ['ab', 'BUCKET_LENGTH'],
    ['Lab', 'BUCKET_CHARACTERS'],
    ['-lab', 'BUCKET_ENDS'],
    ['a..b', 'BUCKET_DOTS'],
    ['10.0.0.1', 'BUCKET_IP'],
    ['xn--lab', 'BUCKET_RESERVED'],
    ['lab-s3alias', 'BUCKET_RESERVED'],
  ])('reject the bucket name %s with %s', (value, rule) =>
    expect(checkBucketName('bucket', value)[0]?.rule).toBe(rule),
  );
  it('normalize prefixes and reject those that IAM would read as wildcards', () => {
    expect(['/runs/', 'runs', 'runs//'].map(normalizePrefix)).toEqual(['runs', 'runs', 'runs']);
    expect(checkPrefix('prefix', 'lab/runs')).toEqual([]);
    for (const bad of ['runs/*', 'ru?s', 'a//b', 'a/../b', '${aws:username}', 's3://b/x'])
      expect(checkPrefix('prefix', bad), bad).not.toEqual([]);
  });
  it('accept valid role ARNs, HealthOmics regions and shared workflows, and reject others', () => {
    expect(checkRoleArn('roleArn', 'arn:aws:iam::111122223333:role/path/Element-ServiceUser')).toEqual([]);
    for (const bad of ['arn:aws:iam::111122223333:user/x', 'arn:aws:iam::1:role/x', 'Element-ServiceUser'])
      expect(checkRoleArn('roleArn', bad), bad).not.toEqual([]);
    expect(checkHealthOmicsRegion('region', 'us-west-2')).toEqual([]);
    expect(checkHealthOmicsRegion('region', 'us-west-1')).not.toEqual([]);
    expect(parseSharedWorkflow('arn:aws:omics:us-west-2:588258415937:workflow/4567890')).toEqual({
      id: '4567890',
      ownerId: '588258415937',
      region: 'us-west-2',
    });
    expect(parseSharedWorkflow('4567890')).toEqual({ id: '4567890' });
    expect(parseSharedWorkflow('workflow 1')).toBeUndefined();
  });
});
