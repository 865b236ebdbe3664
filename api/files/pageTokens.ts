import { createHash } from 'node:crypto';
import { ApiError } from '../errors.js';
import type { Place } from './places.js';

const CHECKSUM_CHARACTERS = 16;

/** Identifies a listing. A page token is valid for the listing that returned it only. */
export function listingKey(place: Pick<Place, 'bucket' | 'root'>, prefix: string, recursive: boolean): string {
  return JSON.stringify([place.bucket, place.root, prefix, recursive]);
}

/**
 * A page token for clients: S3's own token, with a checksum of it and of the listing. The checksum only detects
 * mistakes. It needs no secret because a token grants nothing.
 */
export function sealPageToken(listing: string, token: string): string {
  const checksum = createHash('sha256').update(`${listing} ${token}`).digest('base64url').slice(0, CHECKSUM_CHARACTERS);
  return Buffer.from(checksum + token).toString('base64url');
}

/** S3's own token. @throws ApiError 400 for a token that this listing did not return */
export function openPageToken(listing: string, sealed: string | undefined): string | undefined {
  if (sealed === undefined || sealed === '') return undefined;
  const token = Buffer.from(sealed, 'base64url').toString().slice(CHECKSUM_CHARACTERS);
  // Base64 has several spellings of the same content. Only the one that the listing returned is valid.
  if (token !== '' && sealPageToken(listing, token) === sealed) return token;
  throw invalidPageTokenError();
}

export function invalidPageTokenError(): ApiError {
  return new ApiError(
    400,
    'INVALID_PAGE_TOKEN',
    'pageToken does not come from this listing with the same prefix and recursive. Start again without pageToken',
    { field: 'pageToken' },
  );
}
