/**
 * The hosts from which an HTML report wants to load scripts, styles and images. The frame of a report loads nothing, so
 * such a report shows less than it has.
 * @param html the report or its beginning
 */
export function hostsNeeded(html: string): string[] {
  const tags = html.matchAll(
    /<(?:script|link|img|iframe)\b[^>]*?\s(?:src|href)\s*=\s*["']?((?:https?:)?\/\/[^"'\s>]+)/gi,
  );
  const hosts = [...tags].flatMap(([, address]) =>
    URL.canParse(address!, 'https://polony.invalid') ? [new URL(address!, 'https://polony.invalid').host] : [],
  );
  return [...new Set(hosts)].sort();
}
