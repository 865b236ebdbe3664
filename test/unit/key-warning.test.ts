import { expect, it } from 'vitest';
import { warnOfKey } from '../../domain/grants/keyWarning.js';

const OWN = '111122223333';
const role = (account: string, partition = 'aws') => `arn:${partition}:iam::${account}:role/Analysis`;
const key = `arn:aws:kms:us-west-2:${OWN}:key/1234abcd`;
const bucket = { bucket: 'lab', region: 'us-west-2', account: OWN, key };

it('names the key, and gives the statement for its policy', () => {
  const warning = warnOfKey(role('444455556666'), bucket)!;
  expect(warning).toMatchObject({
    code: 'KMS_KEY',
    key,
    statement: {
      Effect: 'Allow',
      Principal: { AWS: role('444455556666') },
      Action: 'kms:Decrypt',
      Resource: '*',
      Condition: { StringEquals: { 'kms:ViaService': 's3.us-west-2.amazonaws.com' } },
    },
  });
  expect(warning.message).toContain(key);
  expect(warning.message).toContain('IAM policy of its own account');
});

it('leaves out the policy of the own account for a principal of the account of the key', () => {
  expect(warnOfKey(role(OWN), bucket)!.message).not.toContain('its own account');
  // The account of the key counts, not that of the bucket.
  expect(warnOfKey(role(OWN), { ...bucket, account: '999999999999' })!.message).not.toContain('its own account');
  expect(warnOfKey(role(OWN), { ...bucket, key: 'alias/lab' })!.message).not.toContain('its own account');
});

it('says that the key of AWS cannot be shared, to other accounts only', () => {
  const own = { ...bucket, key: undefined };
  expect(warnOfKey(role(OWN), own)).toBeUndefined();
  expect(warnOfKey(`arn:aws:iam::${OWN}:root`, own)).toBeUndefined();
  expect(warnOfKey(role('444455556666'), own)).toMatchObject({ code: 'KMS_KEY_OF_AWS', key: null, statement: null });
  expect(warnOfKey(role(OWN), { ...own, account: null })).toMatchObject({ code: 'KMS_KEY_OF_AWS' });
});

it('uses the names of services in the partition of the bucket', () => {
  const china = { ...bucket, region: 'cn-north-1', key: `arn:aws-cn:kms:cn-north-1:${OWN}:key/1` };
  expect(warnOfKey(role(OWN, 'aws-cn'), china)!.statement).toMatchObject({
    Condition: { StringEquals: { 'kms:ViaService': 's3.cn-north-1.amazonaws.com.cn' } },
  });
});
