import { throwIfInvalid } from '../../../domain/errors.js';

/** Stands for the origin of polony: a path must stay below it. */
const BASE = 'http://polony.invalid';

/**
 * The page to open after signing in, as a path with its query. An address of another origin would make polony send
 * people to pages that pretend to be it (open redirect).
 * @throws InputError
 */
export function parseReturnTo(text = '/'): string {
  // Browsers read a backslash as a slash, and skip tabs and line ends.
  const isPath = /^\/(?!\/)[^\\\u0000-\u0020\u007f]*$/.test(text) && URL.canParse(text, BASE);
  const url = isPath ? new URL(text, BASE) : undefined;
  throwIfInvalid(
    url !== undefined && url.origin === BASE && !url.pathname.startsWith('//')
      ? []
      : [
          {
            field: 'returnTo',
            rule: 'OWN_PATH',
            message: 'must be the path of a page of polony, such as /runs, and not the address of another site',
          },
        ],
  );
  return `${url!.pathname}${url!.search}${url!.hash}`;
}
