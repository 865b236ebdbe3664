import { lookup } from 'node:dns/promises';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { endpointOf, readOwnIdentity } from '../../../aws/doctor.js';
import { classifyAwsError } from '../../../aws/errors.js';
import { errorMessage } from '../../../domain/errors.js';
import { dnsSuffixOf } from '../../../domain/regions.js';
import { listUsedRegions } from '../../../store/doctor.js';
import type { DoctorContext } from '../context.js';
import { type Check, type Finding, failure, ok, warning } from '../finding.js';

type Found = Omit<Finding, 'check'>;

/** AWS refuses requests whose time differs by more than five minutes (Signature Version 4). */
const REFUSED_SKEW_MS = 240_000;
const SKEW_MS = 10_000;
/** Credentials of containers and instances are renewed well before. */
const ENDING_MS = 5 * 60_000;
const CONNECT_MS = 5000;

/** The checks of AWS and of the network on the way to it. */
export function awsChecks(context: DoctorContext): Check[] {
  return [
    { name: 'AWS identity', run: () => checkIdentity(context), timeoutMs: 20_000 },
    { name: 'network', run: () => checkNetwork(context), timeoutMs: 20_000 },
  ];
}

async function checkIdentity(context: DoctorContext): Promise<Found[]> {
  const { now, trustedAccountId } = context;
  const before = now();
  let identity;
  try {
    identity = await readOwnIdentity(await defaultRegion(context));
  } catch (error) {
    const { kind, message } = classifyAwsError(error);
    const isSkew = /skew|RequestTimeTooSkewed|Signature (not yet current|expired)/i.test(message);
    return [
      isSkew
        ? failure(
            `AWS refuses the clock of this machine: ${message}`,
            'Synchronise the clock: timedatectl set-ntp true',
          )
        : failure(
            `AWS does not know who polony is: ${message}`,
            kind === 'denied' || kind === 'expired'
              ? 'Renew or correct the credentials of polony (AWS_ACCESS_KEY_ID, a role of the container or the instance)'
              : 'Give polony credentials of AWS and a region (AWS_REGION), and check the network on the way to STS',
          ),
    ];
  }
  const { arn, account, expiration, awsTime } = identity;
  const findings: Found[] = [];
  if (trustedAccountId !== undefined && trustedAccountId !== account)
    findings.push(
      failure(
        `polony runs in the account ${account}, and POLONY_TRUSTED_ACCOUNT_ID says ${trustedAccountId}, so the trust ` +
          'policies that it writes let another account in',
        `Set POLONY_TRUSTED_ACCOUNT_ID=${account}`,
      ),
    );
  if (expiration !== undefined && expiration.getTime() - now() < ENDING_MS)
    findings.push(
      warning(
        `The credentials of ${arn} end at ${expiration.toISOString()}`,
        'Use a role of the container or the instance, whose credentials renew themselves',
      ),
    );
  if (awsTime !== undefined) findings.push(...judgeSkew(awsTime.getTime(), before, now()));
  return findings.length > 0 ? findings : [ok(`polony is ${arn} in the account ${account}; its clock agrees with AWS`)];
}

/** @param before when the request began @param after when its answer was there; AWS read its clock between them */
function judgeSkew(awsTime: number, before: number, after: number): Found[] {
  const skew = awsTime - (before + after) / 2;
  // The date of an HTTP answer has whole seconds.
  const seconds = Math.round(skew / 1000);
  const message = `The clock of this machine and that of AWS differ by ${seconds} s`;
  const remedy = 'Synchronise the clock of this machine: timedatectl set-ntp true';
  if (Math.abs(skew) > REFUSED_SKEW_MS)
    return [failure(`${message}, and AWS refuses requests from five minutes on`, remedy)];
  return Math.abs(skew) > SKEW_MS + (after - before) / 2 ? [warning(message, remedy)] : [];
}

/** STS needs a region. Without one in the environment, the first provider has one. */
async function defaultRegion({ env, needDb }: DoctorContext): Promise<string | undefined> {
  if ((env.AWS_REGION ?? '') !== '') return undefined;
  const regions = await needDb()
    .then(listUsedRegions)
    .catch(() => undefined);
  return regions?.sts[0] ?? 'us-east-1';
}

async function checkNetwork({ env, needDb }: DoctorContext): Promise<Found[]> {
  const { sts, s3, omics } = await listUsedRegions(await needDb());
  const urls = new Set<string>();
  for (const region of sts) urls.add(endpointOf('STS', region, dnsSuffixOf(region)));
  for (const region of s3) urls.add(endpointOf('S3', region, dnsSuffixOf(region)));
  for (const region of omics) urls.add(endpointOf('OMICS', region, dnsSuffixOf(region)));
  const results = await Promise.all([...urls].map(async (url) => ({ url, problem: await tryConnection(url) })));
  const findings = results
    .filter(({ problem }) => problem !== undefined)
    .map(({ url, problem }) =>
      failure(
        `${url} cannot be reached: ${problem}`,
        'Open the way to it: DNS, firewall (port 443), NAT gateway or VPC endpoint',
      ),
    );
  const proxies = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].filter((name) => (env[name] ?? '') !== '');
  if (proxies.length > 0)
    findings.push(
      warning(
        `${proxies.join(' and ')} is set, and polony does not use a proxy for AWS, PostgreSQL or Temporal`,
        'Give polony a direct way to AWS, or VPC endpoints',
      ),
    );
  if (findings.length > 0) return findings;
  if (urls.size === 0) return [ok('No connection uses a region yet, so there is nothing to reach')];
  return [ok(`Reached ${[...urls].map((url) => new URL(url).host).join(', ')}`)];
}

/** @returns why no connection can be made; undefined where one can. */
async function tryConnection(url: string): Promise<string | undefined> {
  const { hostname, port, protocol } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  try {
    await lookup(host);
    await handshake(host, Number(port || (protocol === 'https:' ? 443 : 80)), protocol === 'https:');
    return undefined;
  } catch (error) {
    return errorMessage(error);
  }
}

function handshake(host: string, port: number, isTls: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = isTls ? connectTls({ host, port, servername: host }) : connectTcp({ host, port });
    const end = (error?: Error): void => {
      socket.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    socket.setTimeout(CONNECT_MS, () => end(new Error(`no answer within ${CONNECT_MS / 1000} s`)));
    socket.once(isTls ? 'secureConnect' : 'connect', () => end());
    socket.once('error', end);
  });
}
