/** The addresses of AWS's console pages for an execution. They are of the partition of the region. */
function consoleHost(region: string): string {
  if (region.startsWith('cn-')) return 'console.amazonaws.cn';
  return region.startsWith('us-gov-') ? 'console.amazonaws-us-gov.com' : `${region}.console.aws.amazon.com`;
}

/** The run in the console of HealthOmics. */
export const omicsRunUrl = (region: string, runId: string): string =>
  `https://${consoleHost(region)}/omics/home?region=${region}#/runs/${runId}`;

/** The log of the engine of a run in CloudWatch. Log streams begin with `run/<id>`. */
export function cloudWatchUrl(region: string, runId: string): string {
  // The console of CloudWatch encodes parts of its addresses twice, and writes $ for %.
  const encode = (text: string): string => encodeURIComponent(encodeURIComponent(text)).replaceAll('%', '$');
  const filter = encodeURIComponent(`?logStreamNameFilter=run/${runId}`).replaceAll('%', '$');
  return (
    `https://${consoleHost(region)}/cloudwatch/home?region=${region}` +
    `#logsV2:log-groups/log-group/${encode('/aws/omics/WorkflowLog')}${filter}`
  );
}

/** A folder in the console of S3. @param uri such as `s3://bucket/folder/` */
export function s3ConsoleUrl(region: string, uri: string): string | undefined {
  const [, bucket, prefix = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(uri) ?? [];
  if (bucket === undefined) return undefined;
  const folder = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
  return `https://${consoleHost(region)}/s3/buckets/${bucket}?region=${region}&prefix=${encodeURIComponent(folder)}`;
}

/** A workflow in the web page of Temporal. */
export const temporalUrl = (uiUrl: string, namespace: string, workflowId: string): string =>
  `${uiUrl.replace(/\/+$/, '')}/namespaces/${encodeURIComponent(namespace)}/workflows/${encodeURIComponent(workflowId)}`;
