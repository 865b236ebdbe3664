/**
 * The import rules of the folders (docs/explanation/architecture.md, "Folders"). Type-only imports count.
 * Each folder may import itself, npm packages, and the folders in its list.
 */
const layers = {
  domain: [],
  workflows: ['domain'],
  threads: ['domain'],
  network: [],
  encryption: [],
  observability: ['domain'],
  aws: ['domain', 'observability'],
  store: ['domain', 'encryption'],
  temporal: ['domain', 'encryption', 'observability', 'workflows/messages'],
  activities: ['domain', 'observability', 'threads', 'network', 'aws', 'store', 'temporal', 'workflows/messages'],
  worker: [
    'domain',
    'observability',
    'threads',
    'aws',
    'store',
    'temporal',
    'activities',
    'workflows/messages',
    'workflows/sandbox',
  ],
  api: ['domain', 'observability', 'threads', 'network', 'aws', 'store', 'temporal', 'workflows/messages'],
  client: [],
  console: ['client', 'domain/auth/scopes', 'domain/errors'],
  local: [
    'domain',
    'aws',
    'store',
    'temporal',
    'workflows/messages',
    'client',
    'cli/settings',
    'worker/workflowBundle',
  ],
  cli: [
    'domain',
    'encryption',
    'observability',
    'threads',
    'network',
    'aws',
    'store',
    'temporal',
    'workflows/messages',
    'activities',
    'worker',
    'api',
    'client',
    'local',
  ],
  deploy: ['cli/settings'],
};
const ours = [...Object.keys(layers), 'test', 'bench'];

const folderRules = Object.entries(layers).map(([folder, allowed]) => ({
  name: `${folder}-imports`,
  comment: `${folder}/ may import only: ${[folder, ...allowed].join(', ')}.`,
  severity: 'error',
  from: { path: `^${folder}/`, pathNot: folder === 'client' ? '^client/generate\\.ts$' : undefined },
  to: {
    path: `^(${ours.join('|')})/`,
    pathNot: [
      `^${folder}/`,
      ...allowed.map((each) => `^${each}(/|\\.ts$)`),
      ...(folder === 'workflows' ? ['^activities/'] : []),
    ],
  },
}));

export default {
  forbidden: [
    ...folderRules.map((rule) => ({
      ...rule,
      from: Object.fromEntries(Object.entries(rule.from).filter(([, value]) => value !== undefined)),
    })),
    {
      name: 'workflows-import-only-types-of-activities',
      comment: 'Activity code must not enter the workflow bundle.',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { path: '^activities/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'workflow-sandbox',
      comment: 'domain/ and workflows/ run in the workflow sandbox, without Node.js modules, validators and clients.',
      severity: 'error',
      from: { path: '^(domain|workflows)/' },
      to: {
        path: [
          '(^|/)node_modules/(@sinclair/)?typebox/',
          '(^|/)node_modules/(zod|ajv|fastify|pg|kysely|undici|pino|@aws-sdk/[^/]+)/',
        ],
      },
    },
    {
      name: 'no-node-core-in-the-sandbox',
      severity: 'error',
      from: { path: '^(domain|workflows)/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'sql-only-in-store',
      comment: 'Only store/ talks to PostgreSQL. Tests and the local stack may look at the database.',
      severity: 'error',
      from: { pathNot: '^(store|test|bench|local)/' },
      to: { path: '(^|/)node_modules/(kysely|pg)/' },
    },
    {
      name: 'embedded-stack-only-for-cli-and-tests',
      severity: 'error',
      from: { pathNot: '^(local|cli|test|bench)/' },
      to: { path: '^local/' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'no-unresolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-development-packages-in-the-product',
      severity: 'error',
      from: {
        path: '^(domain|encryption|workflows|threads|network|observability|activities|aws|store|temporal|worker|api|client|cli)/',
        pathNot: '^(client/generate|cli/customer|cli/demo)\\.ts$',
      },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'], pathNot: '(^|/)node_modules/@types/' },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|coverage)/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      extensions: ['.ts', '.tsx', '.js'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
