import path from 'node:path';
import { type LocalInfo, readLocalInfo, stateFolder } from '../local/stackFiles.js';

/** What people must know of such an address. */
export const SIGN_IN_NOTE = '(works once, within 15 minutes; polony local info prints a new one)';

/**
 * The running local stack of this folder.
 * @throws Error when none runs
 */
export function requireLocalInfo(): LocalInfo {
  const folder = stateFolder();
  const info = readLocalInfo(folder);
  if (info !== undefined) return info;
  throw new Error(
    `No local stack runs on ${folder}. Start one with polony local, change to the folder where you started it, ` +
      'or set POLONY_HOME to its state folder',
  );
}

/**
 * A new address that signs a browser in with the key of the stack, once.
 * @returns undefined where the API of the stack does not answer
 */
export async function createSignInUrl({
  apiUrl,
  apiKey,
}: Pick<LocalInfo, 'apiUrl' | 'apiKey'>): Promise<string | undefined> {
  try {
    const headers = { 'x-api-key': apiKey };
    const response = await fetch(`${apiUrl}/v1/session/sign-in-links`, { method: 'POST', headers });
    const { signInLink } = (await response.json()) as { signInLink: { path: string } };
    return `${apiUrl}${signInLink.path}`;
  } catch {
    return undefined;
  }
}

/**
 * What a user of the local stack needs to know: addresses, accounts, keys and the environment for AWS clients.
 * @param signInUrl from {@link createSignInUrl}
 */
export function describeStack(info: LocalInfo, signInUrl: string | undefined): string {
  return [
    `Sign in          ${signInUrl ?? 'the API does not answer; try polony local info later'}`,
    ...(signInUrl === undefined ? [] : [`                 ${SIGN_IN_NOTE}`]),
    `API              ${info.apiUrl}   (docs ${info.apiUrl}/docs)`,
    `API key          ${info.apiKey}`,
    `Temporal UI      ${info.temporalUiUrl}`,
    `Temporal         ${info.temporalAddress}, namespace ${info.namespace}`,
    `PostgreSQL       ${info.databaseUrl}`,
    `Trusted account  ${info.trustedAccountId}   (polony runs in it; the roles of customers must trust it)`,
    '',
    `AWS, as the admin of the customer's account ${info.adminAccessKeyId}:`,
    '  polony local accept-share       accepts the workflow share of Bases2Fastq',
    '  polony local exec <command>     runs the AWS CLI or another AWS client, or set its environment yourself:',
    `  export AWS_ENDPOINT_URL=${info.awsEndpoint} AWS_REGION=${info.awsRegion} AWS_DISABLE_HOST_PREFIX_INJECTION=true`,
    `  export AWS_ACCESS_KEY_ID=${info.adminAccessKeyId} AWS_SECRET_ACCESS_KEY=${info.adminSecretAccessKey}`,
    '',
    `${path.join(stateFolder(), 'local.json')} has all of this.`,
  ].join('\n');
}
