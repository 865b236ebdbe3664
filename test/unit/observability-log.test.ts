import { Writable } from 'node:stream';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { describe, expect, it } from 'vitest';
import { secretValues } from '../../cli/settings/secretValues.js';
import { createLogger } from '../../observability/log.js';
import { noteLogIds, withLogIds } from '../../observability/logContext.js';
import { RedactingExporter } from '../../observability/openTelemetry.js';
import { Redactor } from '../../observability/redact.js';

const SECRET_KEY = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const SESSION_TOKEN =
  'IQoJb3JpZ2luX2VjEDcaCXVzLWVhc3QtMSJHMEUCIQDexample9dQ7rT2mZ1vX8pL0sYwK4hN6bG3cF5jR1uE2iA==' + 'aB3'.repeat(40);
const UUID = '0198c0de-1111-7222-8333-444455556666';

/** A logger whose lines a test reads. */
function openLog(secrets: string[] = []) {
  const lines: string[] = [];
  const destination = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(chunk.toString());
      done();
    },
  });
  const log = createLogger('trace', { secrets, destination });
  return {
    log,
    text: () => lines.join(''),
    last: () => JSON.parse(lines.at(-1)!) as Record<string, unknown> & { error?: Record<string, unknown> },
  };
}

/** An error as the AWS SDK throws it: with the request, the response and all headers. */
function awsError(): Error {
  return Object.assign(new Error('User is not authorized to perform: omics:StartRun'), {
    name: 'AccessDeniedException',
    code: 'AccessDeniedException',
    $metadata: { httpStatusCode: 403, requestId: UUID, cfId: SECRET_KEY },
    $response: { headers: { 'set-cookie': SECRET_KEY }, body: SESSION_TOKEN },
    $request: { headers: { authorization: `AWS4-HMAC-SHA256 Credential=AKIA/…, Signature=${SECRET_KEY}` } },
    config: { credentials: { secretAccessKey: SECRET_KEY, sessionToken: SESSION_TOKEN } },
  });
}

describe('the log', () => {
  it('has the ids of a request under their names, also in child loggers', () => {
    const { log, last } = openLog();
    withLogIds({ requestId: 'request-1' }, () => {
      noteLogIds({ executionId: UUID, healthOmicsRunId: '1234567' });
      log.child({ runId: UUID }).info({ status: 200 }, 'request');
    });
    expect(last()).toMatchObject({
      requestId: 'request-1',
      executionId: UUID,
      healthOmicsRunId: '1234567',
      runId: UUID,
      status: 200,
      msg: 'request',
    });
    log.info('outside of the request');
    expect(last()).not.toHaveProperty('requestId');
  });

  it('leaves out fields that it does not know, at any depth, and counts them', () => {
    const { log, text, last } = openLog();
    log.info({ secretAccessKey: SECRET_KEY, provider: { external_id: SECRET_KEY }, bucket: 'runs' }, 'known: bucket');
    expect(last()).toMatchObject({ bucket: 'runs', removedFields: 2 });
    log.child({ headers: { 'x-api-key': SECRET_KEY } }).warn({ list: [SECRET_KEY] }, 'a child');
    log.info({ executionId: { nested: SECRET_KEY }, status: SECRET_KEY, requestId: [SECRET_KEY] }, 'wrong shapes');
    expect(last()).toMatchObject({ executionId: '[removed]', status: '[removed]', requestId: '[removed]' });
    log.info({ ['__proto__']: { executionId: SECRET_KEY }, constructor: SECRET_KEY, toString: SECRET_KEY }, 'names');
    expect(text()).not.toContain(SECRET_KEY);
  });

  it('keeps of an error its type, code, message, stack, causes and the request ID of AWS', () => {
    const { log, text, last } = openLog();
    const error = new Error('Starting the run failed', { cause: awsError() });
    for (const name of ['error', 'err', 'workflowFailure']) {
      log.error({ [name]: error }, 'A call to AWS failed');
      expect(last()[name]).toMatchObject({
        message: 'Starting the run failed',
        cause: { type: 'AccessDeniedException', message: expect.stringContaining('omics:StartRun') as string },
      });
    }
    log.error({ error: awsError() }, 'Directly');
    expect(last().error).toMatchObject({ awsRequestId: UUID, code: 'AccessDeniedException' });
    expect(last().error!.stack).toContain('observability-log.test.ts');
    log.error(awsError(), 'As the only argument');
    log.error(awsError());
    log.error({ error: { ...awsError(), message: 'not an Error', headers: { authorization: SECRET_KEY } } }, 'plain');
    expect(last().error).toEqual({
      type: 'AccessDeniedException',
      code: 'AccessDeniedException',
      message: 'not an Error',
    });
    for (const secret of [SECRET_KEY, SESSION_TOKEN, 'AWS4-HMAC']) expect(text()).not.toContain(secret);
  });

  it('keeps no signature of a presigned URL and no password of an address', () => {
    const { log, text, last } = openLog();
    const url =
      `https://runs.s3.us-west-2.amazonaws.com/a/RunManifest.csv?X-Amz-Algorithm=AWS4-HMAC-SHA256` +
      `&X-Amz-Credential=ASIAEXAMPLE%2F20260101&X-Amz-Security-Token=${SESSION_TOKEN}&X-Amz-Signature=0f1e2d3c4b5a`;
    log.warn({ url, reason: `GET ${url} failed`, error: new Error(`fetch ${url}`) }, `Cannot read ${url}`);
    expect(last().url).toBe('https://runs.s3.us-west-2.amazonaws.com/a/RunManifest.csv?[removed]');
    log.warn(`connect to postgres://polony:p4ss:w0rd@db.example.org:5432/polony failed`);
    expect(last().msg).toBe('connect to postgres://[removed]@db.example.org:5432/polony failed');
    for (const secret of ['0f1e2d3c4b5a', 'ASIAEXAMPLE', 'p4ss', 'w0rd', SESSION_TOKEN.slice(0, 20)])
      expect(text()).not.toContain(secret);
  });

  it.each([
    [`password=hunter22hunter`, 'hunter22hunter'],
    [`{"secretAccessKey":"${SECRET_KEY}"}`, SECRET_KEY],
    [`"{\\"SessionToken\\":\\"short-token\\"}"`, 'short-token'],
    [`Authorization: Bearer abcdefgh1234`, 'abcdefgh1234'],
    [`x-api-key: root-key-0123456789`, 'root-key-0123456789'],
    [`cookie=session-1234567`, 'session-1234567'],
    [`externalId: 7d3f-abcd`, '7d3f-abcd'],
    [`the key ${SECRET_KEY} is not valid`, SECRET_KEY],
    [`token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln`, 'eyJzdWIiOiIxIn0'],
    [`polony_${'0a'.repeat(16)}_${'Zx'.repeat(21)}q is revoked`, 'ZxZxZx'],
    [`-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----`, 'MIIabc'],
    [`signed with whsec_MfKQ9r8GKYqrTwjU`, 'MfKQ9r8GKYqrTwjU'],
    [`hash ${'0123456789abcdef'.repeat(4)}`, '0123456789abcdef0123'],
  ])('removes the secret from a text: %s', (message, secret) => {
    const { log, text } = openLog();
    log.info(message);
    log.info({ error: new Error(message), reason: message }, 'in fields');
    expect(text()).not.toContain(secret);
    expect(text()).toContain('[removed]');
  });

  it('keeps texts that people need', () => {
    const redactor = new Redactor(['a-secret-value']);
    for (const text of [
      `execution ${UUID} of run 20260101_AV242402_MyRun-2 in arn:aws:omics:us-west-2:111122223333:run/1234567`,
      'execution/0198c0de-1111-7222-8333-444455556666',
      'at Object.<anonymous> (/opt/polony/node_modules/@aws-sdk/client-omics/dist-cjs/commands/StartRunCommand.js:12:3)',
      'AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/PolonyRole/polony-0198c0de is not authorized',
      'ExpiredToken: The security token included in the request is expired',
      'run-upload/storage-connection/AV242402/20260101_AV242402_SomeVeryLongRunNameWithParts_2026',
      'https://runs.s3.us-west-2.amazonaws.com/a/b.csv',
    ])
      expect(redactor.redactText(text)).toBe(text);
  });

  it('never contains the secrets of the settings, whatever their form', () => {
    const secrets = secretValues({
      DATABASE_URL: 'postgres://polony:plain%20words@db/polony',
      POLONY_API_KEY: 'an-ordinary-looking-text',
      POLONY_ENCRYPTION_KEYS: 'k2=arn:aws:kms:us-west-2:111122223333:key/abc,k1=bm90IHNvIHNlY3JldA==',
      AWS_SECRET_ACCESS_KEY: 'just-words-here',
      PGPASSWORD: 'short',
    });
    const { log, text } = openLog(secrets);
    log.info({ state: 'plain words', caller: 'an-ordinary-looking-text' }, 'key bm90IHNvIHNlY3JldA== just-words-here');
    for (const secret of ['plain words', 'an-ordinary-looking-text', 'bm90IHNv', 'just-words-here'])
      expect(text()).not.toContain(secret);
    log.info('arn:aws:kms:us-west-2:111122223333:key/abc');
    expect(text()).toContain('arn:aws:kms');
  });

  it('survives what is not a line of a log, and cuts what is too long', () => {
    const { log, last } = openLog();
    const circular: Record<string, unknown> = { bucket: 'runs' };
    circular.error = Object.assign(new Error('circular'), { self: circular, cause: circular });
    log.error(circular, 'circular');
    expect(last()).toMatchObject({ bucket: 'runs', error: { message: 'circular' } });
    log.info('x'.repeat(100_000));
    expect((last().msg as string).length).toBeLessThan(5000);
    expect(new Redactor().redactLine('not JSON: password=1234567')).not.toContain('1234567');
    expect(new Redactor().redactFields([1, 2])).toEqual({});
  });

  it('is no stricter than the traces', () => {
    const exported: ReadableSpan[] = [];
    const exporter = {
      export: (spans: ReadableSpan[]) => void exported.push(...spans),
      shutdown: async () => undefined,
    };
    const redactor = new Redactor();
    const span = {
      name: 'omics:StartRun',
      spanContext: () => ({ traceId: '1', spanId: '2', traceFlags: 1 }),
      attributes: { action: 'omics:StartRun', memo: { key: SECRET_KEY }, note: `password=${SECRET_KEY}`, attempts: 2 },
      events: [{ name: 'exception', time: [0, 0], attributes: { 'exception.message': `signed with ${SECRET_KEY}` } }],
      status: { code: 2, message: `GET https://b.s3.amazonaws.com/k?X-Amz-Signature=${SECRET_KEY}` },
    };
    new RedactingExporter(exporter, (text) => redactor.redactText(text)).export(
      [span as unknown as ReadableSpan],
      () => undefined,
    );
    const [{ name, attributes, events, status, spanContext }] = exported as [ReadableSpan];
    expect(JSON.stringify({ attributes, events, status })).not.toContain(SECRET_KEY);
    expect(attributes).toEqual({ action: 'omics:StartRun', note: 'password=[removed]', attempts: 2 });
    expect([name, spanContext().traceId]).toEqual(['omics:StartRun', '1']);
  });

  it('says once when the collector of traces does not accept spans, and when it does again', () => {
    const told: (string | undefined)[] = [];
    const codes = [0, 1, 1, 0, 0, 1];
    const exporter = new RedactingExporter(
      {
        export: (_spans, done) => {
          const code = codes.shift()!;
          done({ code, ...(code === 1 && { error: new Error('connection refused') }) });
        },
        shutdown: async () => undefined,
      },
      (text) => text,
      (error) => told.push(error?.message),
    );
    const results: number[] = [];
    while (codes.length > 0) exporter.export([], ({ code }) => results.push(code));
    expect(told).toEqual(['connection refused', undefined, 'connection refused']);
    expect(results).toEqual([0, 1, 1, 0, 0, 1]);
  });

  it('takes time in proportion to the length of a text', () => {
    const redactor = new Redactor();
    for (const text of [
      'a://'.repeat(25_000),
      'token'.repeat(20_000),
      'A1b'.repeat(33_000),
      '-----BEGIN '.repeat(9000),
    ])
      expect(redactor.redactText(text).length).toBeLessThan(6000);
  });
});
