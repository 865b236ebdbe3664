/** A bucket, or one folder of it. */
export interface Location {
  bucket: string;
  /** In its normal form, empty for the whole bucket. */
  prefix: string;
}

/** Removes duplicate locations, and locations that lie within another. */
export function withoutNested(locations: readonly Location[]): Location[] {
  const prefixes = new Map<string, Set<string>>();
  for (const { bucket, prefix } of locations) prefixes.set(bucket, (prefixes.get(bucket) ?? new Set()).add(prefix));
  const seen = new Set<string>();
  return locations.filter(({ bucket, prefix }) => {
    const key = `${bucket}/${prefix}`;
    if (seen.has(key) || foldersAbove(prefix).some((folder) => prefixes.get(bucket)!.has(folder))) return false;
    seen.add(key);
    return true;
  });
}

/** The folders that a prefix in its normal form lies in: `a/b/c` in the bucket, in `a` and in `a/b`. */
function foldersAbove(prefix: string): string[] {
  if (prefix === '') return [];
  const parts = prefix.split('/');
  return parts.map((_part, count) => parts.slice(0, count).join('/'));
}

/** Buckets that share a statement for listing. */
export interface ListingGroup {
  buckets: string[];
  prefixes: string[];
}

/**
 * Groups buckets with equal prefixes. They can share a statement, because its condition on s3:prefix applies to all
 * buckets of the statement.
 */
export function groupForListing(locations: readonly Location[]): ListingGroup[] {
  const groups = new Map<string, ListingGroup>();
  for (const bucket of new Set(locations.map((location) => location.bucket))) {
    const prefixes = locations
      .filter((location) => location.bucket === bucket)
      .map(({ prefix }) => prefix)
      .sort();
    const key = JSON.stringify(prefixes);
    const group = groups.get(key) ?? { buckets: [], prefixes };
    group.buckets.push(bucket);
    groups.set(key, group);
  }
  return [...groups.values()];
}
