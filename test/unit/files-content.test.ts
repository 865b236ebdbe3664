import { describe, expect, it } from 'vitest';
import { contentDisposition } from '../../domain/files/contentDisposition.js';
import { previewOf } from '../../domain/files/preview.js';

describe('contentDisposition', () => {
  it.each([
    ['R1_C001.zip', 'attachment; filename="R1_C001.zip"'],
    ['é ü.txt', `attachment; filename="_ _.txt"; filename*=UTF-8''%C3%A9%20%C3%BC.txt`],
    ['📁.csv', `attachment; filename="_.csv"; filename*=UTF-8''%F0%9F%93%81.csv`],
    ['a"b\'(1)*.txt', `attachment; filename="a_b'(1)*.txt"; filename*=UTF-8''a%22b%27%281%29%2A.txt`],
    ['50%.txt', `attachment; filename="50_.txt"; filename*=UTF-8''50%25.txt`],
    ['a\r\nset-cookie: x=1', 'attachment; filename="a__set-cookie: x=1"'],
    ['a\u202etxt.exe', 'attachment; filename="a_txt.exe"'],
    ['a\\b', 'attachment; filename="a_b"'],
    ['\ud800', 'attachment; filename="_"'],
    ['', 'attachment; filename="file"'],
  ])('encodes the name %j', (name, expected) => expect(contentDisposition('attachment', name)).toBe(expected));
  it('shortens long names between whole characters, and keeps the extension', () => {
    const header = contentDisposition('inline', `${'é'.repeat(300)}.fastq.gz`);
    expect(decodeURIComponent(header.slice(header.indexOf("''") + 2))).toBe(`${'é'.repeat(123)}.fastq.gz`);
  });
});

describe('previewOf', () => {
  const text = (...bytes: number[]) => previewOf('x.csv', Uint8Array.from(bytes), false);
  it.each([
    ['x.png', [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], 'image/png'],
    ['x', [0xff, 0xd8, 0xff, 0xe0], 'image/jpeg'],
    ['x', [0x47, 0x49, 0x46, 0x38, 0x39], 'image/gif'],
    ['x', [0x52, 0x49, 0x46, 0x46, 0, 0, 0, 0, 0x57, 0x45, 0x42, 0x50], 'image/webp'],
    ['x.svg', [0x3c, 0x73, 0x76, 0x67], 'text/plain'],
    ['x.png', [0x41], 'text/plain'],
    ['x.JSON', [0x7b], 'application/json'],
    ['x.csv', [], 'text/csv'],
  ])('tells %s from its content', (name, bytes, contentType) =>
    expect(previewOf(name, Uint8Array.from(bytes), false)?.contentType).toBe(contentType),
  );
  it('decodes UTF-8 and UTF-16, and rejects other bytes', () => {
    expect(text(0xef, 0xbb, 0xbf, 0x41)).toMatchObject({ text: 'A' });
    expect(text(0xff, 0xfe, 0x41, 0x00)).toMatchObject({ text: 'A' });
    expect([text(0xc3), text(0x41, 0x00), text(0x1f, 0x8b, 0x08)]).toEqual([undefined, undefined, undefined]);
    // A cut file may end within a character.
    expect(previewOf('x', Uint8Array.from([0x41, 0xc3]), true)).toMatchObject({ text: 'A' });
  });
});
