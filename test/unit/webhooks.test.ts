import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ResolveHost } from '../../network/resolve.js';
import { sendWebhook } from '../../activities/webhooks/send.js';
import { parseApiConfig, parseWorkerConfig } from '../../cli/settings/parse.js';
import { judgeAddress, type NetworkPolicy } from '../../domain/webhooks/networks.js';
import {
  checkEventTypes,
  checkWebhookUrl,
  whyDestinationRejected,
  WEBHOOK_RETRY_SECONDS,
  WEBHOOK_EVENTS,
  webhookBody,
} from '../../domain/webhooks/webhook.js';

const closed: NetworkPolicy = { allowPrivate: false, allowedNetworks: [] };
const open: NetworkPolicy = { allowPrivate: true, allowedNetworks: [] };

describe('judgeAddress', () => {
  it.each([
    '8.8.8.8',
    '1.1.1.1',
    '52.94.236.248',
    '172.15.255.255',
    '172.32.0.1',
    '100.63.255.255',
    '100.128.0.1',
    '192.167.255.255',
    '169.253.0.1',
    '223.255.255.255',
    '2606:4700:4700::1111',
    '2a00:1450:4001:80e::200e',
    '::ffff:8.8.8.8',
    '64:ff9b::8.8.8.8',
  ])('accepts the public address %s', (address) => {
    expect(judgeAddress(address, closed)).toEqual({ isPublic: true });
  });
  it.each([
    '10.0.0.1',
    '10.255.255.255',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '127.0.0.1',
    '127.255.255.254',
    '100.64.0.1',
    '100.127.255.255',
    '::1',
    'fd00::1',
    'fc00::1',
    'fdff:ffff::1',
    '::ffff:10.0.0.1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '64:ff9b::10.0.0.1',
    '64:ff9b::7f00:1',
  ])('rejects the private address %s unless private networks are allowed', (address) => {
    expect(judgeAddress(address, closed).refusal).toContain('not an address of the public internet');
    expect(judgeAddress(address, open)).toEqual({ isPublic: false });
  });
  it.each([
    '169.254.169.254',
    '169.254.170.2',
    '169.254.0.1',
    '::ffff:169.254.169.254',
    '64:ff9b::169.254.169.254',
    '0.0.0.0',
    '0.1.2.3',
    '255.255.255.255',
    '224.0.0.1',
    '239.1.2.3',
    '240.0.0.1',
    '192.0.0.192',
    '192.0.2.1',
    '198.18.0.1',
    '198.51.100.7',
    '203.0.113.9',
    '100.100.100.200',
    '::',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1',
    'fd00:ec2::254',
    '2001:db8::1',
    '2002:7f00:1::',
    '2001:0:1::1',
    '100::1',
    '::8.8.8.8',
    '::127.0.0.1',
    '::7f00:1',
    '4000::1',
    'not-an-address',
    '',
  ])('rejects the address %j even if private networks are allowed', (address) => {
    expect(judgeAddress(address, closed).refusal).toBeDefined();
    expect(judgeAddress(address, open).refusal).toBeDefined();
  });
  it('accepts addresses of the allowed networks and no others', () => {
    const policy: NetworkPolicy = {
      allowPrivate: false,
      allowedNetworks: ['10.1.0.0/16', 'fd12:3456::/32', '169.254.7.7/32'],
    };
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', 'fd12:3456::9', '169.254.7.7'])
      expect(judgeAddress(address, policy), address).toEqual({ isPublic: false });
    for (const address of ['10.2.0.1', 'fd12:3457::9', '169.254.169.254', '127.0.0.1'])
      expect(judgeAddress(address, policy).refusal, address).toBeDefined();
  });
});

describe('the check of a webhook', () => {
  it.each([
    ['https://lims.example.org/hooks', []],
    ['https://lims.example.org:8443/hooks?lab=1', []],
    ['https://8.8.8.8/', []],
    ['https://[2606:4700:4700::1111]/', []],
    ['http://lims.example.org/', ['URL_SCHEME']],
    ['ftp://lims.example.org/', ['URL_SCHEME']],
    ['javascript:alert(1)', ['URL_SCHEME']],
    ['lims.example.org', ['URL']],
    ['', ['URL']],
    ['https://', ['URL']],
    ['https://exa mple.org/', ['URL']],
    ['https://example.org/\u0000', ['URL']],
    ['https://user@lims.example.org/', ['URL_CREDENTIALS']],
    ['https://user:pass@lims.example.org/', ['URL_CREDENTIALS']],
    ['https://lims.example.org/#part', ['URL_FRAGMENT']],

    ['https://127.0.0.1/', ['ADDRESS_REFUSED']],
    // A browser reads all of these as 127.0.0.1.
    ['https://2130706433/', ['ADDRESS_REFUSED']],
    ['https://0x7f.1/', ['ADDRESS_REFUSED']],
    ['https://0177.0.0.1/', ['ADDRESS_REFUSED']],
    ['https://①②⑦.0.0.1/', ['ADDRESS_REFUSED']],
    ['https://[::1]/', ['ADDRESS_REFUSED']],
    ['https://[::ffff:169.254.169.254]/latest/meta-data/', ['ADDRESS_REFUSED']],
    ['https://169.254.169.254/latest/meta-data/', ['ADDRESS_REFUSED']],
  ])('finds in the URL %j the problems %j', (url, rules) => {
    expect(checkWebhookUrl('url', url, closed).map(({ rule }) => rule)).toEqual(rules);
  });
  it('accepts http only for an allowed private network', () => {
    expect(checkWebhookUrl('url', 'http://10.0.0.7:8080/', open)).toEqual([]);
    expect(checkWebhookUrl('url', 'http://8.8.8.8/', open).map(({ rule }) => rule)).toEqual(['ADDRESS_REFUSED']);
    expect(whyDestinationRejected(new URL('http://lims.example.org/'), ['8.8.8.8'], open)).toContain('https');
    expect(whyDestinationRejected(new URL('http://lims.lab/'), ['10.0.0.7'], open)).toBeUndefined();
    // One private address among public ones is enough to reject the name.
    expect(whyDestinationRejected(new URL('https://lims.example.org/'), ['8.8.8.8', '10.0.0.7'], closed)).toContain(
      '10.0.0.7',
    );
  });
  it('rejects a URL that is too long', () => {
    expect(
      checkWebhookUrl('url', `https://lims.example.org/${'a'.repeat(2048)}`, closed).map(({ rule }) => rule),
    ).toEqual(['URL_LENGTH']);
  });
  it('accepts exact event names only', () => {
    expect(checkEventTypes('eventTypes', ['execution.completed', 'run.stalled'])).toEqual([]);
    expect(
      checkEventTypes('eventTypes', ['execution.completed', 'execution.*']).map(
        ({ field, rule }) => `${field} ${rule}`,
      ),
    ).toEqual(['eventTypes.1 EVENT_TYPE']);
    expect(new Set(WEBHOOK_EVENTS).size).toBe(WEBHOOK_EVENTS.length);
  });
});

it('writes a webhook body with type, time, and data with sequence number and links', () => {
  const body = webhookBody(
    {
      type: 'execution.running',
      time: new Date('2026-01-15T10:00:00Z'),
      sequence: 7,
      data: { executionId: 'e1', status: 'EXECUTION_STATUS_RUNNING' },
    },
    'https://polony.example.org',
  );
  expect(JSON.parse(body)).toEqual({
    type: 'execution.running',
    timestamp: '2026-01-15T10:00:00.000Z',
    data: {
      executionId: 'e1',
      status: 'EXECUTION_STATUS_RUNNING',
      sequence: 7,
      links: {
        self: 'https://polony.example.org/v1/executions/e1',
        details: 'https://polony.example.org/v1/executions/e1/details',
      },
    },
  });
  expect(
    JSON.parse(
      webhookBody({
        type: 'storage_connection.failed',
        time: new Date(0),
        sequence: 1,
        data: { storageConnectionId: 's1' },
      }),
    ),
  ).toMatchObject({ data: { links: { self: '/v1/storage-connections/s1' } } });
});

it('reads the webhook settings from the environment', () => {
  const base = { DATABASE_URL: 'postgres://u:p@h/d', TEMPORAL_ADDRESS: 'h:7233', POLONY_API_KEY: 'k'.repeat(24) };
  expect(parseWorkerConfig(base)).toMatchObject({
    webhookNetworks: closed,
    webhookRetrySeconds: WEBHOOK_RETRY_SECONDS,
    publicUrl: undefined,
  });
  expect(
    parseApiConfig({
      ...base,
      POLONY_WEBHOOK_ALLOW_PRIVATE: 'true',
      POLONY_WEBHOOK_ALLOWED_NETWORKS: '10.0.0.0/8, fd00::/8',
    }).webhookNetworks,
  ).toEqual({ allowPrivate: true, allowedNetworks: ['10.0.0.0/8', 'fd00::/8'] });
  expect(parseWorkerConfig({ ...base, POLONY_WEBHOOK_RETRY_SECONDS: '1, 2,3' }).webhookRetrySeconds).toEqual([1, 2, 3]);
  expect(() => parseApiConfig({ ...base, POLONY_WEBHOOK_ALLOWED_NETWORKS: '10.0.0.0' })).toThrow(
    'POLONY_WEBHOOK_ALLOWED_NETWORKS',
  );
  for (const wrong of ['0', '5;6', '1,,2', '-1', '604801', 'soon'])
    expect(() => parseWorkerConfig({ ...base, POLONY_WEBHOOK_RETRY_SECONDS: wrong }), wrong).toThrow(
      'POLONY_WEBHOOK_RETRY_SECONDS',
    );
});

describe('sendWebhook', () => {
  let server: http.Server;
  let port: number;
  let answer: (request: http.IncomingMessage, response: http.ServerResponse) => void;
  const received: { headers: http.IncomingHttpHeaders; body: string; url: string }[] = [];
  beforeAll(async () => {
    server = http.createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        received.push({ headers: request.headers, body: Buffer.concat(parts).toString(), url: request.url! });
        answer(request, response);
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = (where = '/hook', host = '127.0.0.1'): URL => new URL(`http://${host}:${port}${where}`);
  const resolving =
    (...addresses: string[]): ResolveHost =>
    async () =>
      addresses;

  it('sends a body that a Standard Webhooks library verifies', async () => {
    answer = (_, response) => response.writeHead(204).end();
    const secret = `whsec_${Buffer.alloc(32, 9).toString('base64')}`;
    const now = new Date();
    const data = { runId: 'r1', runName: 'RÜN ✓' };
    const body = webhookBody({ type: 'run.uploaded', time: now, sequence: 1, data });
    expect(
      await sendWebhook(
        url('/hook?x=1'),
        body,
        {
          'webhook-id': 'e1',
          'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
          'webhook-signature': new Webhook(secret).sign('e1', now, body),
        },
        { policy: open },
      ),
    ).toEqual({ status: 204 });
    const got = received.at(-1)!;
    expect(got.url).toBe('/hook?x=1');
    expect(got.headers).toMatchObject({ 'content-type': 'application/json', 'webhook-id': 'e1' });
    expect(new Webhook(secret).verify(got.body, got.headers as Record<string, string>)).toEqual(JSON.parse(body));
    expect(() =>
      new Webhook(`whsec_${Buffer.alloc(32, 8).toString('base64')}`).verify(
        got.body,
        got.headers as Record<string, string>,
      ),
    ).toThrow();
    expect(() =>
      new Webhook(secret).verify(got.body.replace('r1', 'r2'), got.headers as Record<string, string>),
    ).toThrow();
  });

  it('does not follow redirects, and reads only the beginning of a long answer', async () => {
    answer = (_, response) => response.writeHead(302, { location: 'http://127.0.0.1/other' }).end();
    const before = received.length;
    expect(await sendWebhook(url(), '{}', {}, { policy: open })).toMatchObject({
      status: 302,
      error: expect.stringContaining('redirects are not followed') as string,
    });
    expect(received.length).toBe(before + 1);
    let written = 0;
    answer = (_, response) => {
      response.writeHead(500);
      const more = (): void => {
        while (!response.destroyed && written < 50_000_000) {
          written += 65_536;
          if (!response.write('no\n\u0007'.repeat(16_384))) return void response.once('drain', more);
        }
      };
      more();
    };
    const long = await sendWebhook(url(), '{}', {}, { policy: open });
    expect(long.status).toBe(500);
    expect(long.error!.length).toBeLessThan(230);
    expect(long.error).toMatch(/^HTTP 500: no no /);
    expect(written).toBeLessThan(20_000_000);
  });

  it('stops waiting for a receiver that does not answer, and says why a connection failed', async () => {
    answer = () => undefined;
    expect(await sendWebhook(url(), '{}', {}, { policy: open, timeoutMs: 200 })).toEqual({
      error: 'no answer within 0.2 seconds',
    });
    // The status alone counts as an answer, even if the body never ends.
    answer = (_, response) => void response.writeHead(503).write('later');
    expect((await sendWebhook(url(), '{}', {}, { policy: open, timeoutMs: 300 })).error).toMatch(
      /^(HTTP 503: later|no answer within 0.3 seconds)$/,
    );
    answer = (request) => void request.socket.destroy();
    expect((await sendWebhook(url(), '{}', {}, { policy: open })).error).toMatch(/ECONNRESET|hang up/);
    expect((await sendWebhook(new URL('http://127.0.0.1:1/'), '{}', {}, { policy: open })).error).toContain(
      'ECONNREFUSED',
    );
  });

  it('never connects to a rejected address, whether the URL or DNS names it', async () => {
    answer = (_, response) => response.writeHead(200).end();
    const before = received.length;
    expect((await sendWebhook(url(), '{}', {}, { policy: closed })).error).toContain(
      '127.0.0.1 is not an address of the public internet',
    );
    expect(
      (await sendWebhook(new URL(`http://[::ffff:127.0.0.1]:${port}/`), '{}', {}, { policy: closed })).error,
    ).toContain('not an address of the public internet');
    // DNS rebinding: after the check, the name gets a private address, alone or next to a public one.
    expect(
      (
        await sendWebhook(
          url('/', 'rebound.example.org'),
          '{}',
          {},
          { policy: closed, resolve: resolving('127.0.0.1') },
        )
      ).error,
    ).toContain('127.0.0.1 is not');
    expect(
      (
        await sendWebhook(
          url('/', 'rebound.example.org'),
          '{}',
          {},
          { policy: closed, resolve: resolving('8.8.8.8', '127.0.0.1') },
        )
      ).error,
    ).toContain('127.0.0.1 is not');
    expect(
      (
        await sendWebhook(
          url('/', 'rebound.example.org'),
          '{}',
          {},
          { policy: open, resolve: resolving('169.254.169.254') },
        )
      ).error,
    ).toContain('linkLocal');
    expect(
      (await sendWebhook(url('/', 'public.example.org'), '{}', {}, { policy: open, resolve: resolving('8.8.8.8') }))
        .error,
    ).toContain('Use https');
    expect(
      (await sendWebhook(url('/', 'nowhere.example.org'), '{}', {}, { policy: open, resolve: resolving() })).error,
    ).toContain('has no address');
    expect(received.length).toBe(before);
    expect(
      await sendWebhook(url('/', 'lims.lab'), '{}', {}, { policy: open, resolve: resolving('127.0.0.1') }),
    ).toEqual({ status: 200 });
    expect(received.at(-1)!.headers.host).toBe(`lims.lab:${port}`);
  });
});
