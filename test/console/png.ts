import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');
/** The most colours of a palette. */
const MOST_COLOURS = 256;

/** An image without transparency, three bytes for each pixel. */
interface Image {
  width: number;
  height: number;
  pixels: Buffer;
}

function* chunksOf(png: Buffer): Generator<{ type: string; data: Buffer }> {
  for (let at = SIGNATURE.length; at < png.length;) {
    const length = png.readUInt32BE(at);
    yield { type: png.toString('latin1', at + 4, at + 8), data: png.subarray(at + 8, at + 8 + length) };
    at += length + 12;
  }
}

/** The neighbour that is nearest to what all three predict (PNG specification, "Paeth"). */
function paeth(left: number, above: number, corner: number): number {
  const [byLeft, byAbove] = [Math.abs(above - corner), Math.abs(left - corner)];
  const byCorner = Math.abs(left + above - 2 * corner);
  if (byLeft <= byAbove && byLeft <= byCorner) return left;
  return byAbove <= byCorner ? above : corner;
}

/** Reads a screenshot: 8 bits, RGB or RGBA, not interlaced. @throws Error for any other PNG */
function decode(png: Buffer): Image {
  const chunks = [...chunksOf(png)];
  const header = chunks[0]!.data;
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const [depth, type, interlaced] = [header[8], header[9], header[12]];
  if (depth !== 8 || (type !== 2 && type !== 6) || interlaced !== 0)
    throw new Error(`A screenshot is a PNG with ${depth} bits of type ${type}; expected 8 bits of type 2 or 6`);
  const channels = type === 2 ? 3 : 4;
  const data = inflateSync(Buffer.concat(chunks.filter((each) => each.type === 'IDAT').map((each) => each.data)));
  const row = width * channels;
  const pixels = Buffer.alloc(width * height * 3);
  let above = Buffer.alloc(row);
  for (let y = 0; y < height; y++) {
    const start = y * (row + 1);
    const filter = data[start]!;
    const line = data.subarray(start + 1, start + 1 + row);
    for (let x = 0; x < row; x++) {
      const left = x < channels ? 0 : line[x - channels]!;
      const corner = x < channels ? 0 : above[x - channels]!;
      const up = above[x]!;
      const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter]!;
      line[x] = (line[x]! + predicted) & 255;
      if (x % channels < 3) pixels[(y * width + Math.floor(x / channels)) * 3 + (x % channels)] = line[x]!;
    }
    above = line;
  }
  return { width, height, pixels };
}

const distance = (one: number, other: number): number =>
  [16, 8, 0].reduce((sum, shift) => sum + (((one >> shift) & 255) - ((other >> shift) & 255)) ** 2, 0);

const nearest = (palette: readonly number[], colour: number): number => {
  let best = 0;
  for (let at = 1; at < palette.length; at++)
    if (distance(palette[at]!, colour) < distance(palette[best]!, colour)) best = at;
  return best;
};

/** The most frequent colours, each some distance from the others, so that rare ones of small icons have a place too. */
function choosePalette(counts: ReadonlyMap<number, number>): number[] {
  const colours = [...counts].sort((one, other) => other[1] - one[1]).map(([colour]) => colour);
  if (colours.length <= MOST_COLOURS) return colours;
  for (let apart = 16; ; apart *= 1.5) {
    const palette: number[] = [];
    for (const colour of colours)
      if (palette.length <= MOST_COLOURS && palette.every((each) => distance(each, colour) >= apart))
        palette.push(colour);
    if (palette.length <= MOST_COLOURS) return palette;
  }
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}

/**
 * Writes a screenshot with a palette of at most 256 colours, which takes about a third of the space. Screenshots of
 * pages have few colours, so nobody sees the difference.
 */
export function shrinkPng(png: Buffer): Buffer {
  const { width, height, pixels } = decode(png);
  const colours = new Uint32Array(width * height);
  const counts = new Map<number, number>();
  for (let at = 0; at < colours.length; at++) {
    const colour = pixels.readUIntBE(at * 3, 3);
    colours[at] = colour;
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const palette = choosePalette(counts);
  const indexes = new Map([...counts.keys()].map((colour) => [colour, nearest(palette, colour)]));
  const lines = Buffer.alloc(height * (width + 1));
  for (let at = 0; at < colours.length; at++)
    lines[Math.floor(at / width) * (width + 1) + 1 + (at % width)] = indexes.get(colours[at]!)!;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3], 8);
  const entries = Buffer.alloc(palette.length * 3);
  palette.forEach((colour, at) => entries.writeUIntBE(colour, at * 3, 3));
  const data = deflateSync(lines, { level: 9, memLevel: 9 });
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('PLTE', entries),
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
