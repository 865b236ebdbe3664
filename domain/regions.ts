import type { FieldProblem } from './errors.js';

/** The regions where AWS HealthOmics runs workflows (AWS General Reference, HealthOmics endpoints). */
export const HEALTHOMICS_REGIONS = [
  'ap-northeast-1',
  'ap-northeast-2',
  'ap-southeast-1',
  'eu-central-1',
  'eu-west-1',
  'eu-west-2',
  'il-central-1',
  'us-east-1',
  'us-east-2',
  'us-west-2',
] as const;

/** Regions by partition (AWS General Reference, "Partitions"; partitions of the AWS SDKs); all others are in `aws`. */
const PARTITIONS: readonly { regions: string; partition: string; dnsSuffix: string }[] = [
  { regions: 'cn-', partition: 'aws-cn', dnsSuffix: 'amazonaws.com.cn' },
  { regions: 'us-gov-', partition: 'aws-us-gov', dnsSuffix: 'amazonaws.com' },
  { regions: 'eusc-', partition: 'aws-eusc', dnsSuffix: 'amazonaws.eu' },
  { regions: 'us-iso-', partition: 'aws-iso', dnsSuffix: 'c2s.ic.gov' },
  { regions: 'us-isob-', partition: 'aws-iso-b', dnsSuffix: 'sc2s.sgov.gov' },
  { regions: 'us-isof-', partition: 'aws-iso-f', dnsSuffix: 'csp.hci.ic.gov' },
  { regions: 'eu-isoe-', partition: 'aws-iso-e', dnsSuffix: 'cloud.adc-e.uk' },
];

/** The partition where AWS HealthOmics exists. */
export const HEALTHOMICS_PARTITION = 'aws';

/** The partition of a region. Identities and resources of different partitions cannot access each other. */
export function partitionOf(region: string): string {
  return findPartition(region)?.partition ?? 'aws';
}

/** The end of the names of AWS services in a region, as in `s3.us-west-2.amazonaws.com`. */
export function dnsSuffixOf(region: string): string {
  return findPartition(region)?.dnsSuffix ?? 'amazonaws.com';
}

function findPartition(region: string) {
  return PARTITIONS.find(({ regions }) => region.startsWith(regions));
}

/** Checks that a region belongs to a partition. @param owner what decides the partition, such as "the provider". */
export function checkRegionPartition(field: string, region: string, partition: string, owner: string): FieldProblem[] {
  const other = partitionOf(region);
  if (other === partition) return [];
  return [
    {
      field,
      rule: 'PARTITION',
      message:
        `must be in the partition ${partition} of ${owner}, but ${region} is in ${other}: ` +
        'AWS accounts do not reach other partitions',
    },
  ];
}

/** Checks that a text has the form of an AWS region. Only AWS knows whether the region exists. */
export function checkRegion(field: string, value: string): FieldProblem[] {
  if (/^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$/.test(value)) return [];
  return [{ field, rule: 'AWS_REGION', message: 'must be an AWS region such as us-west-2' }];
}

/** Checks that AWS HealthOmics runs workflows in a region. */
export function checkHealthOmicsRegion(field: string, value: string): FieldProblem[] {
  if ((HEALTHOMICS_REGIONS as readonly string[]).includes(value)) return [];
  return [
    {
      field,
      rule: 'HEALTHOMICS_REGION',
      message: `must be a region that has AWS HealthOmics: ${HEALTHOMICS_REGIONS.join(', ')}`,
    },
  ];
}
