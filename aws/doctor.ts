import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { clientSettings } from './clients.js';

/** polony's own identity at AWS. */
interface OwnIdentity {
  arn: string;
  account: string;
  /** When its credentials end; undefined where they do not, or nothing says when. */
  expiration: Date | undefined;
  /** The clock of AWS; undefined where the answer has no date. */
  awsTime: Date | undefined;
}

/**
 * Asks STS who polony is.
 * @param region undefined for the one of the environment
 * @throws the error of STS, or of the search for credentials
 */
export async function readOwnIdentity(region: string | undefined): Promise<OwnIdentity> {
  const sts = new STSClient({ ...(region !== undefined && { region }), ...clientSettings('STS'), maxAttempts: 2 });
  let date: string | undefined;
  sts.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      date = (result.response as { headers?: Record<string, string> } | undefined)?.headers?.date;
      return result;
    },
    { step: 'deserialize', priority: 'low' },
  );
  try {
    const { expiration } = await sts.config.credentials();
    const { Arn, Account } = await sts.send(new GetCallerIdentityCommand({}));
    const awsTime = date === undefined || Number.isNaN(Date.parse(date)) ? undefined : new Date(date);
    return { arn: Arn ?? '', account: Account ?? '', expiration, awsTime };
  } finally {
    sts.destroy();
  }
}

/**
 * Where the SDK sends requests to a service in a region: a URL from the environment, or the endpoint of AWS (AWS General
 * Reference, service endpoints).
 */
export function endpointOf(service: 'STS' | 'S3' | 'OMICS', region: string, dnsSuffix: string): string {
  const custom = process.env[`AWS_ENDPOINT_URL_${service}`] || process.env.AWS_ENDPOINT_URL;
  if (custom !== undefined && custom !== '') return custom;
  const host = { STS: 'sts', S3: 's3', OMICS: 'workflows-omics' }[service];
  return `https://${host}.${region}.${dnsSuffix}`;
}
