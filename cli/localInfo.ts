import path from 'node:path';
import { type LocalInfo, readLocalInfo, stateFolder } from '../local/stackFiles.js';

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

/** What a user of the local stack needs to know: addresses, accounts, keys and the environment for AWS clients. */
export function describeStack(info: LocalInfo): string {
  return [
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
