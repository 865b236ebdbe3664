import path from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, gzip } from 'node:zlib';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { PUBLIC } from '../plugins/auth.js';
import { readPage } from './files.js';

/** The first parts of the addresses of pages. The page itself decides what it shows there. */
const PAGES = [
  'sign-in',
  'runs',
  'executions',
  'instruments',
  'data',
  'access',
  'setup',
  'providers',
  'storage',
  'compute',
  'flows',
  'verification',
  'keys',
  'audit',
  'webhooks',
];

/**
 * No inline code, nothing from another host, and no frame around the page. Reports are shown in a frame of this origin,
 * which their own policy isolates.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "frame-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

const PAGE_HEADERS = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'content-type': 'text/html; charset=utf-8',
  // The names of the other files change with their content; the page says which belong together.
  'cache-control': 'no-cache',
  'referrer-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  vary: 'accept-encoding',
};

const YEAR_SECONDS = 31_536_000;

/**
 * Serves the console at `/`. Its files need no login, because they contain nothing of the installation.
 * @param folder with the built console
 * @param basePath the path below which browsers reach polony; empty for the whole host
 */
export async function addConsole(app: FastifyInstance, folder: string, basePath: string): Promise<void> {
  const page = Buffer.from(readPage(folder, basePath));
  const encoded: readonly (readonly [string, Buffer])[] = [
    ['br', await promisify(brotliCompress)(page)],
    ['gzip', await promisify(gzip)(page)],
  ];
  const sendPage = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const accepted = request.headers['accept-encoding'] ?? '';
    const found = encoded.find(([name]) =>
      new RegExp(`(^|,)\\s*${name}\\s*(,|;(?!\\s*q=0(\\.0*)?\\s*(,|$))|$)`).test(accepted),
    );
    if (found !== undefined) void reply.header('content-encoding', found[0]);
    return reply.headers(PAGE_HEADERS).send(found?.[1] ?? page);
  };
  const options = { config: PUBLIC, schema: { hide: true } };
  app.get('/', options, sendPage);
  for (const each of PAGES) {
    app.get(`/${each}`, options, sendPage);
    app.get(`/${each}/*`, options, sendPage);
  }
  await app.register(fastifyStatic, { root: folder, serve: false, preCompressed: true });
  const sendFile = (reply: FastifyReply, root: string, name: string, cacheControl: string): FastifyReply =>
    reply
      .headers({ 'cache-control': cacheControl, vary: 'accept-encoding' })
      .sendFile(name, root, { cacheControl: false });
  app.get('/favicon.svg', options, (_request, reply) =>
    sendFile(reply, folder, 'favicon.svg', 'public, max-age=86400'),
  );
  // A name such as `..%2findex.html` must not reach the page, which would lack its policy here.
  const assets = path.join(folder, 'assets');
  app.get<{ Params: { '*': string } }>('/assets/*', options, (request, reply) =>
    sendFile(reply, assets, request.params['*'], `public, max-age=${YEAR_SECONDS}, immutable`),
  );
}
