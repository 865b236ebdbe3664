import { prefixesOverlap } from '../connections/storage.js';

/** A bucket, or one folder of it. */
export interface Location {
  bucket: string;
  /** In its normal form, empty for the whole bucket. */
  prefix: string;
}

/** Removes duplicate locations, and locations that lie within another. */
export function withoutNested(locations: readonly Location[]): Location[] {
  return locations.filter(
    (one, index) =>
      !locations.some(
        (other, otherIndex) =>
          otherIndex !== index && isWithin(one, other) && (!isWithin(other, one) || otherIndex < index),
      ),
  );
}

function isWithin(inner: Location, outer: Location): boolean {
  return (
    inner.bucket === outer.bucket &&
    prefixesOverlap(inner.prefix, outer.prefix) &&
    inner.prefix.length >= outer.prefix.length
  );
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
