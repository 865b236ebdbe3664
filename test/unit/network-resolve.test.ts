import dgram from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createResolver, type ResolveHost, type ResolverOptions } from '../../network/resolve.js';

// A DNS server on the loopback interface that answers as the name says.
let server: dgram.Socket;
let folder: string;
let asked: string[];

const A = 1;
/** After how many milliseconds the server answers for names that begin with `late`. */
const LATE_MS = 700;
/** The answer of the server; undefined for none. */
function answerTo(name: string, type: number): { code: number; addresses: string[] } | undefined {
  if (name.startsWith('slow.')) return undefined;
  if (name.startsWith('half.')) return type === A ? { code: 0, addresses: ['8.8.8.8'] } : undefined;
  if (name.startsWith('broken.')) return { code: 2, addresses: [] };
  if (name === 'late.hooks.example') return { code: 0, addresses: type === A ? ['8.8.8.8'] : [] };
  if (name.startsWith('two.')) return { code: 0, addresses: type === A ? ['8.8.8.8', '10.0.0.1'] : [] };
  if (name.endsWith('.slow.example')) return undefined;
  if (name.endsWith('.broken.example')) return { code: 2, addresses: [] };
  if (name === 'public.example.org' || name === 'intranet')
    return { code: 0, addresses: type === A ? ['8.8.4.4'] : [] };
  if (name === 'lims.lab.example') return { code: 0, addresses: type === A ? ['10.1.2.3'] : [] };
  return { code: 3, addresses: [] };
}

function respond(query: Buffer): Buffer | undefined {
  const labels: string[] = [];
  let at = 12;
  while (query[at] !== 0) {
    labels.push(query.toString('ascii', at + 1, at + 1 + query[at]!));
    at += query[at]! + 1;
  }
  const type = query.readUInt16BE(at + 1);
  const name = labels.join('.').toLowerCase();
  asked.push(name);
  const answer = answerTo(name, type);
  if (answer === undefined) return undefined;
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8180 | answer.code, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(answer.addresses.length, 6);
  const records = answer.addresses.map((address) =>
    Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split('.').map(Number)]),
  );
  return Buffer.concat([header, query.subarray(12, at + 5), ...records]);
}

function resolver(options: ResolverOptions = {}): ResolveHost {
  return createResolver({
    servers: [`127.0.0.1:${server.address().port}`],
    hostsFile: path.join(folder, 'hosts'),
    resolvConf: path.join(folder, 'resolv.conf'),
    ...options,
  });
}

beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'polony-dns-'));
  writeFileSync(path.join(folder, 'hosts'), '10.9.8.7 Printer.lab # the printer\nfd00::7 printer.lab\n');
  writeFileSync(path.join(folder, 'resolv.conf'), 'nameserver 127.0.0.1\nsearch lab.example\noptions ndots:1\n');
  asked = [];
  server = dgram.createSocket('udp4');
  server.on('message', (query, { port, address }) => {
    const response = respond(query);
    if (response === undefined) return;
    const send = (): void => server.send(response, port, address);
    if (asked.at(-1)!.startsWith('late.')) setTimeout(send, LATE_MS);
    else send();
  });
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

describe('the resolver of webhook hosts', () => {
  it('returns all addresses of DNS, the hosts file, search domains and localhost', async () => {
    const resolve = resolver();
    expect(await resolve('two.example.org')).toEqual(['8.8.8.8', '10.0.0.1']);
    expect(await resolve('printer.lab')).toEqual(['10.9.8.7', 'fd00::7']);
    expect(await resolve('lims')).toEqual(['10.1.2.3']);
    expect(await resolve('api.localhost')).toEqual(['127.0.0.1', '::1']);
    asked = [];
    await expect(resolve('lims.')).rejects.toMatchObject({ isUnknown: true });
    expect(new Set(asked)).toEqual(new Set(['lims']));
  });

  /** A resolver with this resolv.conf. */
  function withConf(text: string, options: ResolverOptions = {}): ResolveHost {
    const resolvConf = path.join(folder, 'other.conf');
    writeFileSync(resolvConf, text);
    return resolver({ resolvConf, ...options });
  }

  it.each([
    ['a tab', 'search\tlab.example\n'],
    ['tabs and spaces', 'nameserver\t127.0.0.1\nsearch \t other.example\t lab.example. \r\n'],
    ['a domain', 'domain lab.example'],
    ['a domain after a tab', 'search other.example\ndomain\tLab.Example.\n'],
    ['a search after a domain', 'domain other.example\nsearch lab.example'],
    ['comments', '# search a\n;search b\nsearch lab.example # ours\noptions timeout:1\n'],
  ])('finds search domains after %s', async (_name, text) => {
    expect(await withConf(text)('lims')).toEqual(['10.1.2.3']);
  });

  it('asks for a name with as many dots as ndots says first as it is', async () => {
    const firstAsked = async (text: string, host: string): Promise<string | undefined> => {
      asked = [];
      await withConf(text)(host).catch(() => []);
      return asked[0];
    };
    expect(await firstAsked('domain lab.example', 'public.example.org')).toBe('public.example.org');
    expect(asked).not.toContain('public.example.org.lab.example');
    expect(await firstAsked('search lab.example\noptions\tndots:5', 'public.example.org')).toBe(
      'public.example.org.lab.example',
    );
    expect(await firstAsked('search lab.example\noptions ndots:5 rotate\noptions ndots:2', 'public.example.org')).toBe(
      'public.example.org',
    );
    expect(await firstAsked('search lab.example\noptions ndots:0', 'lims')).toBe('lims');
    expect(await firstAsked('search .', 'lims')).toBe('lims');
  });

  it('asks for the name itself although a search domain does not answer, or fails', async () => {
    expect(await withConf('search slow.example', { deadlineMs: 500 })('intranet')).toEqual(['8.8.4.4']);
    expect(await withConf('search broken.example', { deadlineMs: 500 })('intranet')).toEqual(['8.8.4.4']);
    const many = 'search a.slow.example b.slow.example broken.example c.slow.example\noptions ndots:3';
    expect(await withConf(many, { deadlineMs: 1000 })('public.example.org')).toEqual(['8.8.4.4']);
    // Where no name has an address and one had no answer, polony does not know.
    await expect(withConf('search slow.example', { deadlineMs: 300 })('nobody')).rejects.toMatchObject({
      isUnknown: false,
      message: 'polony could not find the addresses of nobody: DNS did not answer within 0.3 seconds',
    });
    await expect(withConf('search broken.example')('nobody')).rejects.toMatchObject({ isUnknown: false });
  });

  it('waits for each name until the end, also where a server is slow for all of them', async () => {
    const many = 'search a.example b.example c.example d.example e.example\noptions ndots:5';
    expect(await withConf(many)('late.hooks.example')).toEqual(['8.8.8.8']);
  });

  it('says whether DNS knows no such host, or gives no answer', async () => {
    await expect(resolver()('nowhere.example.org')).rejects.toMatchObject({
      isUnknown: true,
      message: 'there is no host nowhere.example.org',
    });
    await expect(resolver()('broken.example.org')).rejects.toMatchObject({ isUnknown: false });
  });

  it('finds the addresses of one family where the other has no answer', async () => {
    expect(await resolver({ deadlineMs: 200 })('half.example.org')).toHaveLength(1);
  });

  it('gives up a slow name at its deadline, without the threads that files need', async () => {
    const resolve = resolver({ deadlineMs: 300 });
    const slow = Array.from({ length: 50 }, (_, index) => resolve(`slow.${index}.example.org`).catch(String));
    // With dns.lookup, these would fill the pool, and this read would wait for all of them.
    let haveEnded = false;
    void Promise.all(slow).then(() => (haveEnded = true));
    await readFile(path.join(folder, 'hosts'));
    expect(haveEnded).toBe(false);
    for (const error of await Promise.all(slow)) expect(error).toContain('DNS did not answer within 0.3 seconds');
    expect(await resolver()('two.example.org')).toHaveLength(2);
  });
});
