import { type Certificate, makeAuthority, makeCertificate } from '../certificates.js';

/** The authority of a cluster, and what it signed. */
export interface Certificates {
  authority: string;
  server: Certificate;
  client: Certificate;
}

/** A name of the server. Clients that reach it by its address expect this name. */
export const SERVER_NAME = 'localhost';

/** Makes an authority, and certificates that it signed for a server on 127.0.0.1 and for its clients. */
export function makeCertificates(folder: string): Certificates {
  const authority = makeAuthority(folder, 'authority');
  return {
    authority: authority.certFile,
    server: makeCertificate(folder, 'server', authority, `DNS:${SERVER_NAME}`),
    client: makeCertificate(folder, 'client', authority),
  };
}
