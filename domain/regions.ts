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

/** Checks that a text has the form of an AWS region. Only AWS knows whether the region exists. */
export function checkRegion(field: string, value: string): FieldProblem[] {
  if (/^[a-z]{2}(-[a-z]+)+-\d{1,2}$/.test(value)) return [];
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
