import tseslint from 'typescript-eslint';

/** The folders of the product. .dependency-cruiser.js has the rules for imports between folders. */
const product = [
  'domain',
  'encryption',
  'workflows',
  'threads',
  'network',
  'observability',
  'activities',
  'aws',
  'store',
  'temporal',
  'worker',
  'api',
];
const filesOf = (folders) => folders.map((folder) => `${folder}/**/*.ts`);

const queryMethods = 'selectFrom|insertInto|updateTable|deleteFrom|replaceInto|mergeInto';

export default tseslint.config(
  {
    ignores: ['dist/', 'node_modules/', '.polony*/', 'coverage/', 'bench/report/', 'client/schema.ts'],
  },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['*.js', '.*.js'] },
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
  { files: ['*.js', '.*.js'], ...tseslint.configs.disableTypeChecked },
  {
    // These are warnings: look again at a long function, but split it only where that makes it clearer.
    files: filesOf([...product, 'cli', 'client', 'local']),
    rules: {
      'max-lines-per-function': ['warn', { max: 80, skipBlankLines: true, skipComments: true }],
      complexity: ['warn', 20],
    },
  },
  { files: filesOf(product), rules: { 'no-console': 'error' } },
  {
    // Only functions of store/ query PostgreSQL, so that you find and test every query there.
    files: filesOf([...product, 'cli', 'client'].filter((folder) => folder !== 'store')),
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector: `CallExpression[callee.property.name=/^(${queryMethods})$/]`,
          message: 'SQL belongs in store/: add a function there and call it.',
        },
      ],
    },
  },
);
