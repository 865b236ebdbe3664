import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePython } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';
import { canMakeCertificates, makeAuthority, makeCertificate } from '../../test/certificates.js';
import { buildFolder } from '../build.js';
import type { Report } from '../report.js';
import { BUCKET, ID, PREFIX } from './sinkMessages.js';
import { Sink } from './sinkProcess.js';

/** Files in this folder are in memory. Not every system has it. */
export const MEMORY = '/dev/shm';

/** What the parts of transfers share: a sink, a folder to work in, and the commands of each client. */
export interface Transfers {
  sink: Sink;
  /** A folder that is removed afterwards. */
  work: string;
  /** An interpreter that measures commands. */
  python: string;
  /** Environment of all clients. */
  env: NodeJS.ProcessEnv;
  /** The run folder in the bucket, as AWS's clients name it. */
  remote: string;
  polonyUpload: (folder: string, ...flags: string[]) => string[];
  polonyDownload: (folder: string) => string[];
  aws: (...args: string[]) => string[];
  /** Needs {@link PYTHON}.awsCrt, which is installed when it is first asked for. */
  crt: (what: 'upload' | 'download', folder: string) => Promise<string[]>;
}

/**
 * Starts what transfers need, runs the work and removes everything again.
 * @param parent where the folder to work in is made
 */
export async function withTransfers(
  report: Report,
  run: (transfers: Transfers) => Promise<void>,
  parent = tmpdir(),
): Promise<void> {
  // `run.ts` knows it by the id of this process.
  const work = mkdtempSync(path.join(parent, `polony-bench-${process.pid}-`));
  let sink: Sink | undefined;
  try {
    const { pythonBin: python, binDir } = await ensurePython({ ...PYTHON.awsClients, onProgress: report.say });
    let authority: ReturnType<typeof makeAuthority> | undefined;
    let certificate: ReturnType<typeof makeAuthority> | undefined;
    if (canMakeCertificates) {
      authority = makeAuthority(work, 'authority');
      certificate = makeCertificate(work, 'server', authority, 'IP:127.0.0.1');
    } else report.note('transfers: without openssl, they go over HTTP, and AWS signs the content of requests');
    sink = await Sink.start(certificate);
    const { url } = sink;
    const polony = (...args: string[]): string[] => [
      process.execPath,
      path.join(buildFolder(), 'cli/main.js'),
      ...args,
      '--json',
    ];
    await run({
      sink,
      work,
      python,
      env: {
        PATH: process.env.PATH,
        HOME: work,
        AWS_ACCESS_KEY_ID: 'ASIABENCH',
        AWS_SECRET_ACCESS_KEY: 'secret',
        AWS_DEFAULT_REGION: 'us-west-2',
        AWS_EC2_METADATA_DISABLED: 'true',
        AWS_ENDPOINT_URL: url,
        POLONY_API_URL: url,
        POLONY_API_KEY: 'key-0123456789',
        ...(authority !== undefined && {
          AWS_CA_BUNDLE: authority.certFile,
          NODE_EXTRA_CA_CERTS: authority.certFile,
        }),
      },
      remote: `s3://${BUCKET}/${PREFIX}`,
      polonyUpload: (folder, ...flags) => polony('upload', folder, '--storage', ID, ...flags),
      polonyDownload: (folder) => polony('download', 'run', ID, '--to', folder),
      aws: (...args) => [path.join(binDir, 'aws'), 's3', ...args],
      crt: async (what, folder) => [
        (await ensurePython({ ...PYTHON.awsCrt, onProgress: report.say })).pythonBin,
        fileURLToPath(new URL('crt.py', import.meta.url)),
        ...[what, folder, BUCKET, PREFIX, url],
      ],
    });
  } finally {
    sink?.stop();
    // Faster than `rmSync` for a million files.
    spawnSync('rm', ['-rf', work]);
  }
}
