/** The last part of a path; of a folder without its slash. */
export const nameOf = (path: string): string => path.replace(/\/$/, '').replace(/^.*\//s, '');

/** The folder of a path, with a slash at its end; empty for the uppermost. */
export const folderOf = (path: string): string => path.replace(/[^/]*$/, '');

/** The folders on the way to a prefix. */
export function foldersOf(prefix: string): { name: string; prefix: string }[] {
  const names = prefix.split('/').filter((name) => name !== '');
  return names.map((name, at) => ({ name, prefix: `${names.slice(0, at + 1).join('/')}/` }));
}

/** Classes of which S3 gives an object only after somebody restored it. */
const ARCHIVED = new Set(['GLACIER', 'DEEP_ARCHIVE']);

/** Whether S3 refuses to read an object of a class at once. */
export const isArchivedClass = (storageClass: string | null): boolean =>
  storageClass !== null && ARCHIVED.has(storageClass);

/** Whether a name is one of an HTML report. */
export const isReport = (path: string): boolean => /\.html?$/i.test(path);

/** Whether a name says that a file is neither text nor an image, so that it has no preview. */
export const isBinary = (path: string): boolean => /\.(gz|bz2|xz|zst|zip|tar|bam|bai|cram|crai|parquet)$/i.test(path);

/** Names that people look at. Other files can be previewed too, but are more likely to be downloaded. */
export const isReadable = (path: string): boolean =>
  isReport(path) || /\.(csv|tsv|json|txt|log|md|ya?ml|xml|toml|ini|png|jpe?g|gif|webp|svg)$/i.test(path);
