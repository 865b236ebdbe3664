import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { schemathesis } from '../schemathesis.js';
import { ROOT_KEY as KEY, startTestApi, type TestApi } from '../testApi.js';

/** Set the variable to test for longer. */
const SECONDS = Number(process.env.POLONY_SCHEMATHESIS_SECONDS ?? 20);

/** Fixed, so that each run sends the same requests. Set the variable to try a seed that schemathesis printed. */
const SEED = process.env.POLONY_SCHEMATHESIS_SEED ?? '1';

let api: TestApi;
let url: string;
const logged: string[] = [];

beforeAll(async () => {
  api = await startTestApi({
    trustedAccountId: '588258415937',
    logger: pino({ level: 'error' }, { write: (line: string) => void logged.push(line) }),
  });
  url = await api.listen();
});
afterAll(() => api?.stop());

it('answers every generated request as its OpenAPI document says', async () => {
  const { passed, report } = await schemathesis({ url, key: KEY, seconds: SECONDS, seed: SEED });
  if (!passed) process.stderr.write(`${report}\n${logged.slice(0, 20).join('')}`);
  expect(passed).toBe(true);
  for (const phase of ['Examples', 'Coverage', 'Fuzzing', 'Stateful']) expect(report).toContain(phase);
}, 600_000);
