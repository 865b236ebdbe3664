import tseslint from 'typescript-eslint';

/** The table of rooms in docs/design.md: what each folder must not import. A room that is not named may import anything. */
const rooms = [
  'domain',
  'workflows',
  'activities',
  'aws',
  'store',
  'temporal',
  'worker',
  'api',
  'local',
  'client',
  'cli',
  'test',
  'bench',
];
const mayImport = {
  domain: [],
  workflows: ['domain'],
  activities: ['domain', 'aws', 'store', 'temporal', 'workflows'],
  aws: ['domain'],
  store: ['domain'],
  temporal: ['domain', 'workflows'],
  worker: ['domain', 'aws', 'store', 'temporal', 'activities', 'workflows'],
  api: ['domain', 'store', 'aws', 'temporal', 'workflows'],
};
// Messages, names and inputs of workflows are shared by who starts and signals them; their code is not.
const workflowMessagesOnly = ['activities', 'api', 'worker', 'temporal'];
const typesOnly = { workflows: ['activities'] };

const boundaries = Object.entries(mayImport).map(([room, allowed]) => {
  const forbidden = rooms.filter(
    (other) => other !== room && !allowed.includes(other) && !(typesOnly[room] ?? []).includes(other),
  );
  const patterns = [
    {
      regex: `^(\\.\\./)+(${forbidden.join('|')})/`,
      message: `${room}/ may import only ${allowed.join(', ') || 'nothing of ours'} (docs/design.md, Rooms).`,
    },
  ];
  for (const other of typesOnly[room] ?? []) {
    patterns.push({
      regex: `^(\\.\\./)+${other}/`,
      allowTypeImports: true,
      message: `${room}/ may import only types of ${other}/.`,
    });
  }
  if (workflowMessagesOnly.includes(room)) {
    patterns.push({
      regex: '^(\\.\\./)+workflows/(?!messages\\.js$)',
      allowTypeImports: true,
      message: `${room}/ may import workflows/messages.js and types of workflows, not workflow code.`,
    });
  }
  if (room === 'workflows' || room === 'domain') {
    patterns.push({
      regex: '^(node:|zod|typebox|@sinclair/|ajv|@aws-sdk/|fastify|pg$|kysely|undici|fs$|crypto$|path$)',
      message: `${room}/ runs inside the workflow sandbox: no node: module, validation library or client there.`,
    });
  }
  return {
    files: [`${room}/**/*.ts`],
    rules: { '@typescript-eslint/no-restricted-imports': ['error', { patterns }] },
  };
});

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', '.polony*/', 'coverage/', 'bench/report/', 'client/schema.ts'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['eslint.config.js'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },
  { files: ['eslint.config.js'], ...tseslint.configs.disableTypeChecked },
  ...boundaries,
  {
    // Only the command line and the tests may start the embedded stack.
    files: [
      'domain/**/*.ts',
      'workflows/**/*.ts',
      'activities/**/*.ts',
      'aws/**/*.ts',
      'store/**/*.ts',
      'temporal/**/*.ts',
      'worker/**/*.ts',
      'api/**/*.ts',
    ],
    rules: { 'no-console': 'error' },
  },
);
