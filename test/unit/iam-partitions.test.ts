import { describe, expect, it } from 'vitest';
import { checkExecutionRole, checkHealthOmicsRole } from '../../domain/connections/compute.js';
import { checkRolePartition } from '../../domain/connections/provider.js';
import { iamDocuments } from '../../domain/iam/documents.js';
import { checkPolicy } from '../../domain/iam/policyCheck.js';
import { parseIamQuery } from '../../domain/iam/query.js';
import { issuedCredentialsPolicy, sessionPolicies } from '../../domain/iam/sessionPolicies.js';
import { dnsSuffixOf, partitionOf } from '../../domain/regions.js';

const QUERY = {
  credentialType: 'role',
  bucket: 'lab-gov',
  prefix: 'runs',
  capabilities: 'runUpload,dataExploration,sharing',
  externalId: 'lab-1',
};
const REGIONS = [
  ['us-gov-west-1', 'aws-us-gov', 'amazonaws.com'],
  ['cn-north-1', 'aws-cn', 'amazonaws.com.cn'],
  ['eusc-de-east-1', 'aws-eusc', 'amazonaws.eu'],
  ['us-iso-east-1', 'aws-iso', 'c2s.ic.gov'],
  ['us-isob-east-1', 'aws-iso-b', 'sc2s.sgov.gov'],
  ['us-isof-south-1', 'aws-iso-f', 'csp.hci.ic.gov'],
  ['eu-isoe-west-1', 'aws-iso-e', 'cloud.adc-e.uk'],
  ['us-west-2', 'aws', 'amazonaws.com'],
] as const;

/** The partitions of all ARNs in a text. */
function partitionsIn(text: string): string[] {
  return [...new Set([...text.matchAll(/arn:(aws[a-z-]*):/g)].map((match) => match[1]!))];
}

const rules = (problems: { rule: string }[]): string[] => problems.map(({ rule }) => rule);

describe.each(REGIONS)('in %s', (region, partition, suffix) => {
  it('has the partition and the DNS suffix of AWS', () => {
    expect([partitionOf(region), dnsSuffixOf(region)]).toEqual([partition, suffix]);
  });

  it.each(['vendor', 'least'])('writes all documents of the variant %s in its partition', (variant) => {
    const documents = iamDocuments(parseIamQuery({ ...QUERY, variant, region }), '111122223333');
    expect(partitionsIn(JSON.stringify(documents))).toEqual([partition]);
  });

  it('writes session policies in its partition', () => {
    const folders = [{ bucket: 'lab', prefix: 'runs' }];
    for (const policy of sessionPolicies({ partition, folders, executionRoleArns: [] }))
      expect(partitionsIn(policy)).toEqual([partition]);
    const issued = issuedCredentialsPolicy('upload', 'lab', 'runs/', region);
    expect(partitionsIn(issued)).toEqual([partition]);
    expect(issued).toContain(`s3.${region}.${suffix}`);
  });

  it('finds its own documents sufficient, with and without the region', () => {
    const { permissionPolicy } = iamDocuments(parseIamQuery({ ...QUERY, region }), '111122223333');
    for (const given of [{ region }, {}]) {
      const { permissions } = checkPolicy({ policy: permissionPolicy, ...given });
      const denied = permissions.filter(({ action, state }) => action.startsWith('s3:') && state !== 'granted');
      expect(denied).toEqual([]);
    }
  });

  it('offers missing statements in its partition', () => {
    const { permissions } = checkPolicy({
      policy: { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 's3:PutObject', Resource: '*' }] },
      bucket: 'lab',
      region,
    });
    const statements = permissions.filter(({ action }) => action.startsWith('s3:')).map((row) => row.statements);
    expect(partitionsIn(JSON.stringify(statements))).toEqual([partition]);
  });
});

describe('a partition without HealthOmics', () => {
  it.each(['us-gov-west-1', 'cn-north-1', 'us-iso-east-1', 'eusc-de-east-1'])('rejects Bases2Fastq in %s', (region) => {
    expect(() => parseIamQuery({ ...QUERY, capabilities: 'bases2fastq', region })).toThrow(/HealthOmics/);
  });

  it('rejects its execution roles', () => {
    const role = 'arn:aws-us-gov:iam::111122223333:role/omics';
    expect(rules(checkHealthOmicsRole('executionRoleArn', role))).toEqual(['HEALTHOMICS_PARTITION']);
    expect(() => parseIamQuery({ ...QUERY, executionRoleArn: role })).toThrow(/HealthOmics/);
  });
});

describe('a role in another partition than its region', () => {
  it.each([
    ['arn:aws:iam::111122223333:role/lab', 'us-gov-west-1'],
    ['arn:aws-us-gov:iam::111122223333:role/lab', 'us-west-2'],
    ['arn:aws-cn:iam::111122223333:role/lab', 'us-gov-east-1'],
  ])('rejects %s with %s', (role, region) => {
    expect(rules(checkRolePartition('roleArn', role, region))).toEqual(['PARTITION']);
  });
  it('accepts a role of the same partition', () => {
    expect(checkRolePartition('roleArn', 'arn:aws-us-gov:iam::111122223333:role/lab', 'us-gov-east-1')).toEqual([]);
  });
});

describe('the ARN of an execution role', () => {
  const roleOf = (length: number): string => {
    const start = 'arn:aws:iam::111122223333:role/';
    return `${start}${'p'.repeat(length - start.length - 10)}/${'r'.repeat(9)}`;
  };
  it('has at most the 128 characters that StartRun accepts', () => {
    expect(roleOf(128)).toHaveLength(128);
    expect(checkHealthOmicsRole('executionRoleArn', roleOf(128))).toEqual([]);
    expect(rules(checkHealthOmicsRole('executionRoleArn', roleOf(129)))).toEqual(['EXECUTION_ROLE_ARN_LENGTH']);
  });
  it('does not change what the provider requires of it', () => {
    expect(checkExecutionRole('executionRoleArn', roleOf(100), { roleArn: null, account: '111122223333' })).toEqual([]);
  });
});
