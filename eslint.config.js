import tseslint from 'typescript-eslint';

/** Folders that make up the product. Which folder may import which stands in .dependency-cruiser.js. */
const product = ['domain', 'workflows', 'activities', 'aws', 'store', 'temporal', 'worker', 'api'];
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
    // Warnings only: a long function is a reason to look again, not a reason to split it at any price.
    files: filesOf([...product, 'cli', 'client', 'local']),
    rules: {
      'max-lines-per-function': ['warn', { max: 80, skipBlankLines: true, skipComments: true }],
      complexity: ['warn', 20],
    },
  },
  { files: filesOf(product), rules: { 'no-console': 'error' } },
  {
    // PostgreSQL is reached through functions of store/ only, so that every query can be found and tested there.
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
