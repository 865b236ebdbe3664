import { storageUri } from '../../domain/files/paths.js';
import type { FieldProblem } from '../../domain/errors.js';
import { checkRunManifest, type ManifestedRun } from '../../domain/runs/manifestCheck.js';

/** A run manifest in a request: its text, or where it is in S3. */
export type RequestedManifest = { content: string } | { uri: string };

/**
 * What is wrong with the run manifest of a request. A text is checked now; a file in S3 is checked when the execution
 * prepares, so here only its place is.
 */
export function checkRequestedManifest(
  manifest: RequestedManifest,
  storage: { bucket: string; prefix: string; name: string },
  run: ManifestedRun,
): FieldProblem[] {
  return 'content' in manifest ? checkContent(manifest.content, run) : checkUri(manifest.uri, storage);
}

function checkContent(content: string, run: ManifestedRun): FieldProblem[] {
  return checkRunManifest(content, run).errors.map(({ rule, line, column, message }) => {
    const place = line === undefined ? '' : `line ${line}${column === undefined ? '' : ` column ${column}`}: `;
    return {
      field: 'manifest.content',
      rule: `MANIFEST_${rule.replaceAll('-', '_').toUpperCase()}`,
      message: `${place}${message}`,
    };
  });
}

function checkUri(uri: string, storage: { bucket: string; prefix: string; name: string }): FieldProblem[] {
  const folder = storageUri(storage.bucket, storage.prefix);
  const isInside = uri.startsWith(folder.endsWith('/') ? folder : `${folder}/`) && !/[\u0000-\u001f]/.test(uri);
  if (isInside) return [];
  const message = `must lie in storage connection ${storage.name}, below ${folder}`;
  return [{ field: 'manifest.uri', rule: 'OUTSIDE_STORAGE_CONNECTION', message }];
}
