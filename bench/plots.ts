import type { Row } from './row.js';

const FONT = 'font-family="sans-serif" font-size="12"';
const COLOURS = { met: '#2e7d32', missed: '#c62828', plain: '#546e7a', line: '#1565c0', grid: '#cfd8dc' };

const escape = (text: string): string =>
  text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`).replace(/\s+/g, ' ');
const short = (text: string, length: number): string => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function svg(width: number, height: number, title: string, body: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escape(title)}">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    `<text x="12" y="20" ${FONT} font-weight="bold">${escape(title)}</text>`,
    ...body,
    '</svg>\n',
  ].join('\n');
}

/** Draws what each row measured as a share of what it is compared with, on a logarithmic axis. */
export function plotRatios(rows: readonly Row[]): string {
  const measured = rows.filter(({ value, against, problem }) => problem === undefined && value > 0 && against > 0);
  const [left, right, top, step] = [470, 880, 48, 20];
  const height = top + measured.length * step + 16;
  const [least, most] = [-2.2, 1.2];
  const at = (share: number): number =>
    left + ((Math.min(most, Math.max(least, Math.log10(share))) - least) / (most - least)) * (right - left);
  const grid = [0.01, 0.1, 1, 10].flatMap((share) => [
    `<line x1="${at(share)}" x2="${at(share)}" y1="${top - 6}" y2="${height - 12}" stroke="${share === 1 ? '#37474f' : COLOURS.grid}"/>`,
    `<text x="${at(share)}" y="${top - 10}" ${FONT} text-anchor="middle">${share}</text>`,
  ]);
  const bars = measured.flatMap(({ name, value, against, met }, index) => {
    const share = value / against;
    const y = top + index * step;
    const [from, to] = [Math.min(at(1), at(share)), Math.max(at(1), at(share))];
    const colour = met === undefined ? COLOURS.plain : met ? COLOURS.met : COLOURS.missed;
    return [
      `<text x="${left - 8}" y="${y + 12}" ${FONT} text-anchor="end">${escape(short(name, 72))}</text>`,
      `<rect x="${from.toFixed(1)}" y="${y + 2}" width="${Math.max(1, to - from).toFixed(1)}" height="${step - 7}" ` +
        `fill="${colour}"><title>${escape(`${name}: ${share.toPrecision(3)}`)}</title></rect>`,
    ];
  });
  return svg(900, height, 'Measured value ÷ what it is compared with (green: met, red: not met)', [...grid, ...bars]);
}

/** Draws the ratios of a series of rows over their `at`. */
export function plotSeries(title: string, rows: readonly Row[]): string {
  const [left, right, top, bottom] = [70, 560, 48, 260];
  const points = rows.filter((row) => row.series?.title === title).sort((a, b) => a.series!.at - b.series!.at);
  const ats = points.map((row) => Math.log10(row.series!.at));
  const [first, last] = [Math.min(...ats), Math.max(...ats)];
  const most = Math.max(1, ...points.map(({ ratio }) => ratio)) * 1.15;
  const x = (at: number): number => left + ((Math.log10(at) - first) / (last - first || 1)) * (right - left);
  const y = (value: number): number => bottom - (value / most) * (bottom - top);
  const ticks = [0, 0.5, 1].flatMap((value) => [
    `<line x1="${left}" x2="${right}" y1="${y(value)}" y2="${y(value)}" stroke="${COLOURS.grid}"/>`,
    `<text x="${left - 6}" y="${y(value) + 4}" ${FONT} text-anchor="end">${Number(value.toPrecision(2))}</text>`,
  ]);
  const labels = points.map(
    ({ series }) =>
      `<text x="${x(series!.at)}" y="${bottom + 18}" ${FONT} text-anchor="middle">${series!.at.toLocaleString('en')}</text>`,
  );
  const path = points.map(({ series, ratio }) => `${x(series!.at).toFixed(1)},${y(ratio).toFixed(1)}`).join(' ');
  const dots = points.map(
    ({ series, ratio }) =>
      `<circle cx="${x(series!.at).toFixed(1)}" cy="${y(ratio).toFixed(1)}" r="4" fill="${COLOURS.line}"/>`,
  );
  return svg(600, 300, `${title}, of that of ${points[0]?.of ?? ''}`, [
    ...ticks,
    ...labels,
    `<text x="${(left + right) / 2}" y="${bottom + 36}" ${FONT} text-anchor="middle">open executions</text>`,
    `<polyline points="${path}" fill="none" stroke="${COLOURS.line}" stroke-width="2"/>`,
    ...dots,
  ]);
}
