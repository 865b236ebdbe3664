import { ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { s3ClientSettings } from '../../aws/clients.js';
import type { RawMessage } from './rawMessages.js';

// Lists pages with the client of the API, and does nothing with them. Runs in a process of its own.

const s3 = new S3Client({ region: 'us-west-2', ...s3ClientSettings() });

process.on('message', ({ bucket, prefix, from, pages }: RawMessage) => void answer(bucket, prefix, from, pages));
process.on('disconnect', () => process.exit(0));

async function answer(bucket: string, prefix: string, from: number, pages: number): Promise<void> {
  const began = performance.now();
  let token: string | undefined = from === 0 ? undefined : String(from);
  for (let page = 0; page < pages; page++) {
    const answered = await s3.send(
      new ListObjectsV2Command({
        Bucket: bucket,
        Prefix: prefix,
        MaxKeys: 1000,
        ContinuationToken: token,
        OptionalObjectAttributes: ['RestoreStatus'],
        EncodingType: 'url',
      }),
    );
    if (answered.Contents?.length !== 1000) throw new Error(`A page has ${answered.Contents?.length} objects`);
    token = answered.NextContinuationToken;
  }
  process.send!({ seconds: (performance.now() - began) / 1000 });
}

process.send!({});
