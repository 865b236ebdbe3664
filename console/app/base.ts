/**
 * The path below which a browser reaches this installation, without a slash at the end; empty for the whole host. The
 * API writes it into the page.
 */
export const BASE_PATH = document.querySelector<HTMLMetaElement>('meta[name="polony-base"]')?.content ?? '';

/** The address of a page of the console, for links. */
export const toHref = (path: string): string => `${BASE_PATH}${path}`;

/** The page of an address of this console; undefined for other addresses. */
export function toPath(href: string): string | undefined {
  return href.startsWith(`${BASE_PATH}/`) ? href.slice(BASE_PATH.length) : undefined;
}
