import { invalid } from './model.js';

/** One page of a list. The token is the key of the last item of the previous page. */
export function pageOf<T>(
  all: T[],
  keyOf: (item: T) => string,
  size: number,
  token: string | undefined,
): { page: T[]; nextToken?: string } {
  const from = token === undefined ? 0 : all.findIndex((item) => keyOf(item) === token) + 1;
  if (token !== undefined && from === 0) throw invalid('The token is not one that this list gave');
  const page = all.slice(from, from + size);
  return from + size < all.length ? { page, nextToken: keyOf(page.at(-1)!) } : { page };
}
