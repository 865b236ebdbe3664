/** Numbers and dates in the reader's locale. */
const number = new Intl.NumberFormat();
const percent = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });

/** What stands where nothing is known. */
export const UNKNOWN = '–';

export const formatNumber = (value: number | null | undefined): string =>
  value == null ? UNKNOWN : number.format(value);
/** @param value in percent */
export const formatPercent = (value: number | null | undefined): string =>
  value == null ? UNKNOWN : `${percent.format(value)} %`;
export const formatTime = (iso: string): string => dateTime.format(new Date(iso));
export const formatDate = (time: Date): string => date.format(time);

const BYTE_UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];

/** @param bytes in powers of 1,000, as S3's console shows them */
export function formatBytes(bytes: number | null | undefined): string {
  if (bytes == null) return UNKNOWN;
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), BYTE_UNITS.length - 1);
  return `${percent.format(bytes / 1000 ** power)} ${BYTE_UNITS[power]}`;
}

const BASE_UNITS = ['b', 'kb', 'Mb', 'Gb'];

/** @param bases such as 3.2e11, as 320 Gb; sequencing counts in gigabases, also above a thousand of them */
export function formatBases(bases: number | null | undefined): string {
  if (bases == null) return UNKNOWN;
  const power = bases < 1 ? 0 : Math.min(Math.floor(Math.log10(bases) / 3), BASE_UNITS.length - 1);
  return `${percent.format(bases / 1000 ** power)} ${BASE_UNITS[power]}`;
}

const SPANS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
];

/** Such as "5 minutes ago". */
export function formatAgo(iso: string, now = Date.now()): string {
  const seconds = (new Date(iso).getTime() - now) / 1000;
  const [unit, size] = SPANS.find(([, each]) => Math.abs(seconds) >= each) ?? ['second', 1];
  return relative.format(Math.round(seconds / size), unit);
}

/** Such as "1 h 5 min". @param milliseconds of an interval */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
