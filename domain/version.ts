/** The version of polony, as in package.json; test/unit/cli.test.ts compares them. */
export const VERSION = '0.1.0';
