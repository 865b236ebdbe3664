/** What a person wants to connect. It is in the address, so that it survives a reload and can be shared. */
export interface Setup {
  credentialType: 'role' | 'accessKeys';
  /** Words of {@link CAPABILITIES}. */
  capabilities: readonly string[];
  variant: 'least' | 'vendor';
  account: string;
  region: string;
  bucket: string;
  prefix: string;
  executionRole: string;
  workflow: string;
  owner: string;
  /** IDs of what is connected already. */
  provider: string;
  storage: string;
  compute: string;
  flow: string;
}

/** What polony can do in an account, in the order of the page. */
export const CAPABILITIES = [
  {
    id: 'runUpload',
    text: 'Run upload',
    description: 'Finds the runs that instruments upload to the bucket, and follows them.',
  },
  {
    id: 'dataExploration',
    text: 'Data exploration',
    description: 'People list, read and download files of the bucket in the Data Explorer.',
  },
  {
    id: 'bases2fastq',
    text: 'Bases2Fastq',
    description: 'Makes FASTQ files of runs, with AWS HealthOmics in your account.',
  },
  {
    id: 'sharing',
    text: 'Sharing',
    description: 'Gives other AWS accounts, roles and users access to the bucket, through its policy.',
  },
  {
    id: 'cliCredentials',
    text: 'Credentials for the AWS CLI',
    description: 'Issues credentials for a few hours, which read the bucket.',
  },
] as const;

const TEXTS = [
  'account',
  'region',
  'bucket',
  'prefix',
  'executionRole',
  'workflow',
  'owner',
  'provider',
  'storage',
  'compute',
  'flow',
] as const;

/** The address has only what differs from this. */
export const DEFAULTS: Setup = {
  credentialType: 'role',
  capabilities: ['runUpload', 'dataExploration', 'bases2fastq'],
  variant: 'least',
  account: '',
  region: '',
  bucket: '',
  prefix: '',
  executionRole: '',
  workflow: '',
  owner: '',
  provider: '',
  storage: '',
  compute: '',
  flow: '',
};

/** The search part of the address: texts only. */
export type SetupSearch = { [Name in keyof Setup]?: string };

/** Reads the search part of an address; unknown parts are dropped. */
export function readSetupSearch(search: Record<string, unknown>): SetupSearch {
  return writeSetup(readSetup(search));
}

/** What an address says. */
export function readSetup(search: Record<string, unknown>): Setup {
  const text = (name: string): string => {
    const value = search[name];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  };
  const known = CAPABILITIES.map(({ id }) => id as string);
  const capabilities = text('capabilities')
    .split(',')
    .filter((each) => known.includes(each));
  return {
    credentialType: search.credentialType === 'accessKeys' ? 'accessKeys' : 'role',
    capabilities: capabilities.length > 0 ? capabilities : DEFAULTS.capabilities,
    variant: search.variant === 'vendor' ? 'vendor' : 'least',
    ...(Object.fromEntries(TEXTS.map((name) => [name, text(name)])) as Record<(typeof TEXTS)[number], string>),
  };
}

/** The address of a setup; the inverse of {@link readSetup}. */
export function writeSetup(setup: Setup): SetupSearch {
  const given = TEXTS.filter((name) => setup[name].trim() !== '').map((name) => [name, setup[name].trim()]);
  return {
    ...(setup.credentialType !== 'role' && { credentialType: setup.credentialType }),
    ...(setup.capabilities.join() !== DEFAULTS.capabilities.join() && { capabilities: setup.capabilities.join(',') }),
    ...(setup.variant !== 'least' && { variant: setup.variant }),
    ...(Object.fromEntries(given) as SetupSearch),
  };
}
