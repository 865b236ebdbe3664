import { partitionOf } from './regions.js';

/**
 * The end of the host names of the AWS Management Console, by partition (AWS documentation of each partition). The
 * isolated partitions are not listed: their consoles have no public addresses.
 */
const CONSOLE_DOMAINS: Readonly<Record<string, string>> = {
  aws: 'console.aws.amazon.com',
  'aws-cn': 'console.amazonaws.cn',
  'aws-us-gov': 'console.amazonaws-us-gov.com',
  'aws-eusc': 'console.amazonaws-eusc.eu',
};

/** Where a folder of a bucket is. `key` has no slash at its end. */
export interface FolderLocation {
  bucket: string;
  key: string;
  region: string;
}

function consoleUrl(region: string, path: string): string | undefined {
  const domain = CONSOLE_DOMAINS[partitionOf(region)];
  return domain === undefined || !/^[a-z0-9-]+$/.test(region) ? undefined : `https://${region}.${domain}/${path}`;
}

/** The page of a HealthOmics run in the AWS console; undefined for a partition whose console polony does not know. */
export function omicsRunUrl(region: string, runId: string): string | undefined {
  return consoleUrl(region, `omics/home?region=${region}#/runs/${encodeURIComponent(runId)}`);
}

/** The engine log of a HealthOmics run in the AWS console. It has the log stream `run/<run id>/engine`. */
export function omicsLogUrl(region: string, runId: string): string | undefined {
  // The CloudWatch console escapes names in the fragment of its addresses twice, with `$` in place of `%`.
  const escape = (name: string): string => encodeURIComponent(encodeURIComponent(name)).replace(/%/g, '$');
  return consoleUrl(
    region,
    `cloudwatch/home?region=${region}#logsV2:log-groups/log-group/${escape('/aws/omics/WorkflowLog')}` +
      `/log-events/${escape(`run/${runId}/engine`)}`,
  );
}

/** A folder of a bucket in the AWS console. */
export function s3FolderUrl({ bucket, key, region }: FolderLocation): string | undefined {
  const prefix = key === '' ? '' : `&prefix=${encodeURIComponent(`${key}/`)}`;
  return consoleUrl(region, `s3/buckets/${encodeURIComponent(bucket)}?region=${region}${prefix}`);
}

/** The location that an `s3://bucket/key` URI names; undefined where the text is none. */
export function parseFolderUri(uri: string, region: string): FolderLocation | undefined {
  const match = /^s3:\/\/([^/]+)\/(.*)$/.exec(uri);
  return match === null ? undefined : { bucket: match[1]!, key: match[2]!.replace(/\/$/, ''), region };
}
