import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { canMakeCertificates, makeAuthority, makeCertificate } from '../certificates.js';

// Requests for objects as a process of its own makes them: whom it trusts and which proxy it uses is decided when
// Node.js starts.
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Requests each URL, slower than the server answers. @returns the lengths of the contents */
async function requestAll(urls: string[], env: NodeJS.ProcessEnv): Promise<number[]> {
  const module = new URL('../../cli/client/files/objectRequest.ts', import.meta.url).href;
  const code = `
    const { requestObject } = await import(${JSON.stringify(module)});
    const lengths = [];
    for (const url of ${JSON.stringify(urls)}) {
      let length = 0;
      const answer = await requestObject(url, {}, undefined);
      for await (const batch of answer.batches()) {
        length += batch.length;
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
      lengths.push(length);
    }
    console.log(JSON.stringify(lengths));`;
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  const args = ['--import', 'tsx', '--input-type=module', '-e', code];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd, env: { ...process.env, ...env } });
  return JSON.parse(stdout) as number[];
}

it.skipIf(!canMakeCertificates)('reads any length over one TLS connection, which it keeps', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'polony-object-request-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const authority = makeAuthority(folder, 'authority');
  const { certFile, keyFile } = makeCertificate(folder, 'server', authority, 'IP:127.0.0.1');
  let connections = 0;
  const server = createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, (socket) => {
    connections++;
    socket.on('error', () => undefined);
    socket.on('data', (request: Buffer) => {
      const length = Number(/^GET \/(\d+)/.exec(request.toString())![1]);
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n`);
      socket.write(Buffer.alloc(length));
    });
  });
  const port = await listen(server);
  // Around the length at which reading pauses, each TLS record and each byte of the head may be the last one.
  const lengths = Array.from({ length: 120 }, (_, at) => 400_000 + at * 2711);
  const urls = lengths.map((length) => `https://127.0.0.1:${port}/${length}`);
  expect(await requestAll(urls, { NODE_EXTRA_CA_CERTS: authority.certFile })).toEqual(lengths);
  expect(connections).toBe(1);
});

const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
const knowsProxies = major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21);
it.skipIf(!knowsProxies)('uses the proxy that Node.js is told to use', async () => {
  const asked: string[] = [];
  const proxy = createHttpServer((request, response) => {
    asked.push(request.url!);
    response.end('content');
  });
  const env = {
    NODE_USE_ENV_PROXY: '1',
    HTTP_PROXY: `http://127.0.0.1:${await listen(proxy)}`,
    http_proxy: undefined,
    NO_PROXY: undefined,
    no_proxy: undefined,
  };
  expect(await requestAll(['http://bucket.example/object?a=b'], env)).toEqual([7]);
  expect(asked).toEqual(['http://bucket.example/object?a=b']);
});
