import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';

/** A certificate and its private key, as PEM files. */
export interface Certificate {
  certFile: string;
  keyFile: string;
}

/** Node.js makes no certificates. `req -CA` came with OpenSSL 3. */
export const canMakeCertificates = /^OpenSSL [3-9]/.test(
  spawnSync('openssl', ['version'], { encoding: 'utf8' }).stdout ?? '',
);

/**
 * Makes an authority: a key, and a certificate that it signs itself.
 * @returns `<name>.crt` and `<name>.key` in the folder. They are valid for two days.
 */
export const makeAuthority = (folder: string, name: string): Certificate => make(folder, name, []);

/**
 * Makes a key, and a certificate that an authority signs.
 * @param subject what the certificate is for, such as `DNS:localhost` or `IP:127.0.0.1`. Clients need none.
 * @returns `<name>.crt` and `<name>.key` in the folder. They are valid for two days.
 */
export function makeCertificate(folder: string, name: string, authority: Certificate, subject?: string): Certificate {
  const signed = ['-CA', authority.certFile, '-CAkey', authority.keyFile, '-addext', 'basicConstraints=CA:FALSE'];
  return make(folder, name, [...signed, ...(subject === undefined ? [] : ['-addext', `subjectAltName=${subject}`])]);
}

function make(folder: string, name: string, parameters: readonly string[]): Certificate {
  const [certFile, keyFile] = [path.join(folder, `${name}.crt`), path.join(folder, `${name}.key`)];
  execFileSync('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', `/CN=${name}`, '-keyout', keyFile, '-out', certFile, ...parameters],
  ]);
  return { certFile, keyFile };
}
