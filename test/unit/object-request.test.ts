import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type ObjectAnswer, requestObject } from '../../cli/client/files/objectRequest.js';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A server that answers the requests of all connections, one after the other. */
async function serve(
  answer: (socket: Socket, count: number, head: string) => void,
): Promise<{ url: string; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  let count = 0;
  const server = createServer((socket) => {
    sockets.push(socket);
    let head = '';
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      head += chunk.toString();
      if (!head.endsWith('\r\n\r\n')) return;
      const complete = head;
      head = '';
      answer(socket, ++count, complete);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/o?a=b`, sockets };
}

async function contentOf(answer: ObjectAnswer): Promise<Buffer> {
  const batches: Buffer[] = [];
  for await (const batch of answer.batches()) batches.push(Buffer.from(batch));
  return Buffer.concat(batches);
}
const get = (url: string, signal?: AbortSignal): Promise<ObjectAnswer> =>
  requestObject(url, { range: 'bytes=0-' }, signal);
const ok = (content: string): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${content.length}\r\nETag: "e"\r\n\r\n${content}`;

describe('requestObject', () => {
  it('uses a connection again for the next request', async () => {
    const heads: string[] = [];
    const { url, sockets } = await serve((socket, count, head) => {
      heads.push(head);
      socket.write(ok(`object ${count}`));
    });
    const contents = [];
    for (let number = 0; number < 3; number++) contents.push((await contentOf(await get(url))).toString());
    expect([contents, sockets.length]).toEqual([['object 1', 'object 2', 'object 3'], 1]);
    expect(heads[0]).toBe(
      `GET /o?a=b HTTP/1.1\r\nhost: ${new URL(url).host}\r\nconnection: keep-alive\r\nrange: bytes=0-\r\n\r\n`,
    );
  });
  it('takes an answer that comes in pieces, after an informational one', async () => {
    const { url } = await serve((socket) => {
      socket.setNoDelay(true);
      const pieces = [
        'HTTP/1.1 103 Early Hints\r\nlink: x\r\n',
        '\r\nHTTP/1.1 200 OK\r\nCONTENT-',
        'length:  6 \r\n\r',
        '\nrea',
        'ds!',
      ];
      const next = (): void => {
        const piece = pieces.shift();
        if (piece !== undefined) socket.write(piece, () => setImmediate(next));
      };
      next();
    });
    const answer = await get(url);
    expect([answer.status, answer.headers['content-length'], (await contentOf(answer)).toString()]).toEqual([
      200,
      '6',
      'reads!',
    ]);
  });
  it('keeps all content in order when the reader is slower than the sender', async () => {
    const content = Buffer.alloc(8_000_000);
    for (let at = 0; at < content.length; at += 4) content.writeUInt32LE(at, at);
    const { url } = await serve((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${content.length}\r\n\r\n`);
      socket.write(content);
    });
    const batches: Buffer[] = [];
    for await (const batch of (await get(url)).batches()) {
      // The batch must stay as it is while more arrives.
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      batches.push(Buffer.from(batch));
    }
    expect(Buffer.concat(batches).equals(content)).toBe(true);
    expect(Math.max(...batches.map(({ length }) => length))).toBeLessThan(2_000_000);
  });
  it('asks on a new connection if the server has ended one that was kept', async () => {
    const { url, sockets } = await serve((socket, count) => {
      if (count === 2) socket.destroy();
      else socket.write(ok(`object ${count}`));
    });
    expect((await contentOf(await get(url))).toString()).toBe('object 1');
    expect([(await contentOf(await get(url))).toString(), sockets.length]).toEqual(['object 3', 2]);
  });
  it('reports a connection that ends before its content, and does not keep it', async () => {
    const { url, sockets } = await serve((socket, count) => {
      if (count === 1) socket.end('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nread');
      else socket.write(ok('object'));
    });
    await expect(get(url).then(contentOf)).rejects.toThrow('the server closed the connection');
    expect([(await contentOf(await get(url))).toString(), sockets.length]).toEqual(['object', 2]);
  });
  it('does not keep a connection with more bytes than the answer said, or that the server wants to end', async () => {
    const { url, sockets } = await serve((socket, count) => {
      if (count === 1) socket.write(`${ok('object')}HTTP/1.1 200 OK\r\n`);
      else if (count === 2) socket.write('HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 6\r\n\r\nobject');
      else socket.write(ok('object'));
    });
    for (let number = 0; number < 3; number++) expect((await contentOf(await get(url))).toString()).toBe('object');
    expect(sockets.length).toBe(3);
  });
  it('reads content of unknown length', async () => {
    const { url } = await serve((socket) =>
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\nds\r\n0\r\n\r\n'),
    );
    expect((await contentOf(await get(url))).toString()).toBe('reads');
  });
  it('reads the text of an error answer of any length', async () => {
    const error = '<Error><Code>SlowDown</Code></Error>';
    const heads = [`content-length: ${error.length}\r\n\r\n`, 'transfer-encoding: chunked\r\n\r\n24\r\n'];
    const { url } = await serve((socket, count) =>
      socket.write(`HTTP/1.1 503 Slow Down\r\n${heads[count - 1]}${error}${count === 2 ? '\r\n0\r\n\r\n' : ''}`),
    );
    for (let number = 0; number < 2; number++) {
      const answer = await get(url);
      expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining(error)]);
    }
  });
  it.each([
    'SSH-2.0-x\r\n\r\n',
    'HTTP/1.1 200 OK\r\n folded: x\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n',
    'x'.repeat(70_000),
  ])('refuses what is not an answer (%#)', async (text) => {
    const { url } = await serve((socket) => socket.write(text));
    await expect(get(url)).rejects.toThrow(/the answer|of the answer/);
  });
  it('stops with its signal, also while content arrives', async () => {
    const { url } = await serve((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nread'));
    const controller = new AbortController();
    const answer = await get(url, controller.signal);
    controller.abort();
    await expect(contentOf(answer)).rejects.toThrow('stopped');
    await expect(get(url, controller.signal)).rejects.toThrow('aborted');
  });
  it('sends no header with a line break', async () => {
    const { url } = await serve((socket) => socket.write(ok('object')));
    await expect(requestObject(url, { 'if-range': 'a\r\nb: c' }, undefined)).rejects.toThrow('line break');
  });
});
