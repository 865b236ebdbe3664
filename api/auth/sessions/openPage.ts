import type { FastifyReply } from 'fastify';

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (each) => ENTITIES[each]!);

/**
 * Opens a page of polony in a browser that comes from another site. A redirect would still count as coming from there,
 * and the browser would not send the cookie of the session, which is `SameSite=Strict`. So this page opens the next
 * one.
 * @param path of the page, checked
 */
export function openPage(reply: FastifyReply, path: string): FastifyReply {
  const target = escapeHtml(path);
  return reply
    .code(200)
    .headers({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      'referrer-policy': 'no-referrer',
    })
    .send(
      '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>polony</title>' +
        `<meta http-equiv="refresh" content="0;url=${target}"></head>` +
        `<body><p>You are signed in. <a href="${target}">Continue</a></p></body></html>`,
    );
}
