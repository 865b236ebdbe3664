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
];

/** Suggestions only: the API also accepts regions that are newer than this list. */
export const REGION_SUGGESTIONS = [
  ...HEALTHOMICS_REGIONS,
  'af-south-1',
  'ap-east-1',
  'ap-northeast-3',
  'ap-south-1',
  'ap-south-2',
  'ap-southeast-2',
  'ap-southeast-3',
  'ap-southeast-4',
  'ca-central-1',
  'ca-west-1',
  'eu-central-2',
  'eu-north-1',
  'eu-south-1',
  'eu-south-2',
  'eu-west-3',
  'me-central-1',
  'me-south-1',
  'mx-central-1',
  'sa-east-1',
  'us-west-1',
].sort();
