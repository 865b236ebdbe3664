import { randomFillSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePython } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';
import { canMakeCertificates, makeAuthority, makeCertificate } from '../../test/certificates.js';
import { measure, type Usage } from '../measure.js';
import { median, type Report } from '../report.js';
import { PREFIX } from './sinkMessages.js';
import { Sink } from './sinkProcess.js';

const MIB = 1024 * 1024;
/** 2,000 files of 4 GiB: base calls of many sizes, and some that need parts. */
const FILES = [
  { count: 1500, bytes: 0.5 * MIB },
  { count: 400, bytes: 4 * MIB },
  { count: 100, bytes: 17.5 * MIB },
];
const ROUNDS = 3;
const STORAGE = '01920000-0000-7000-8000-000000000000';
const BUCKET = 'bench';

type Who = 'polony' | 'aws' | 'crt';
type Commands = Record<Who, readonly string[]>;
const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** Makes a run folder that can be uploaded. @returns its path, its files with their sizes, and the bytes of all */
function makeRunFolder(parent: string): { folder: string; bytes: number; sizes: [string, number][] } {
  const folder = path.join(parent, '20260115_AV240001_BENCH');
  mkdirSync(path.join(folder, 'BaseCalls'), { recursive: true });
  const content = randomFillSync(Buffer.alloc(32 * MIB));
  const sizes: [string, number][] = [];
  const write = (name: string, data: Buffer | string): void => {
    writeFileSync(path.join(folder, name), data);
    sizes.push([name, data.length]);
  };
  let at = 0;
  for (const { count, bytes } of FILES)
    for (let number = 0; number < count; number++) {
      // Another beginning for each file, so that no two are equal.
      const start = (at * 4099) % (content.length - bytes);
      write(
        `BaseCalls/R1_C${String(++at).padStart(4, '0')}.zip`,
        content.subarray(Math.floor(start), Math.floor(start) + bytes),
      );
    }
  write('BaseCalls/R1_C001.zip', content.subarray(0, MIB));
  write('RunParameters.json', JSON.stringify({ RunName: 'BENCH', InstrumentName: 'AV240001', Cycles: { R1: 1 } }));
  write(
    'RunUploaded.json',
    JSON.stringify({
      version: '1.0.0',
      instrument: 'AV240001',
      instrumentId: 'i',
      runType: 'Sequencing',
      recipeExecutionId: 'r',
      runID: 'x',
      outcome: 'OutcomeCompleted',
    }),
  );
  return { folder, sizes, bytes: sizes.reduce((sum, [, size]) => sum + size, 0) };
}

/** The rows of uploads and downloads. */
export async function transfers(report: Report): Promise<void> {
  const work = mkdtempSync(path.join(tmpdir(), 'polony-bench-'));
  const { pythonBin, binDir } = await ensurePython({ ...PYTHON.awsClients, onProgress: report.say });
  const crt = await ensurePython({ ...PYTHON.awsCrt, onProgress: report.say });
  let authority: ReturnType<typeof makeAuthority> | undefined;
  let certificate: ReturnType<typeof makeAuthority> | undefined;
  if (canMakeCertificates) {
    authority = makeAuthority(work, 'authority');
    certificate = makeCertificate(work, 'server', authority, 'IP:127.0.0.1');
  } else report.note('transfers: without openssl, they go over HTTP, and AWS signs the content of requests');
  const sink = await Sink.start(certificate);
  try {
    const run = makeRunFolder(work);
    const env = {
      PATH: process.env.PATH,
      HOME: work,
      AWS_ACCESS_KEY_ID: 'ASIABENCH',
      AWS_SECRET_ACCESS_KEY: 'secret',
      AWS_DEFAULT_REGION: 'us-west-2',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_ENDPOINT_URL: sink.url,
      POLONY_API_URL: sink.url,
      POLONY_API_KEY: 'key-0123456789',
      ...(authority !== undefined && {
        AWS_CA_BUNDLE: authority.certFile,
        NODE_EXTRA_CA_CERTS: authority.certFile,
      }),
    };
    const remote = `s3://${BUCKET}/${PREFIX}`;
    const cp = [path.join(binDir, 'aws'), 's3', 'cp', '--recursive', '--no-progress', '--quiet'];
    const crtScript = [crt.pythonBin, fileURLToPath(new URL('crt.py', import.meta.url))];
    const rounds = async (what: string, commands: Commands, before: () => Promise<unknown>): Promise<void> => {
      const used: Record<Who, Usage[]> = { polony: [], aws: [], crt: [] };
      for (let round = 0; round < ROUNDS; round++)
        for (const who of ['polony', 'aws', 'crt'] as const) {
          await before();
          const { received, sent } = await sink.tell();
          used[who].push(await measure(pythonBin, commands[who], { env }));
          const now = await sink.tell();
          if (now.received - received + now.sent - sent < run.bytes)
            throw new Error(`${who} did not ${what} everything`);
          const { wall, cpu, memory } = used[who].at(-1)!;
          report.say(`  ${what}, ${who}: ${wall.toFixed(1)} s, CPU ${cpu.toFixed(1)} s, ${memory.toFixed(0)} MiB`);
        }
      addRows(report, `${what} of 4 GiB in 2,000 files`, used);
    };
    await rounds(
      'upload',
      {
        polony: [process.execPath, cli, 'upload', run.folder, '--storage', STORAGE, '--json'],
        aws: [...cp, run.folder, remote],
        crt: [...crtScript, 'upload', run.folder, BUCKET, PREFIX, sink.url],
      },
      () => sink.tell({ clear: true }),
    );
    const target = path.join(work, 'downloaded');
    await sink.tell({ clear: true, put: run.sizes.map(([name, size]) => [`${PREFIX}${name}`, size]) });
    await rounds(
      'download',
      {
        polony: [process.execPath, cli, 'download', 'run', STORAGE, '--to', target, '--json'],
        aws: [...cp, remote, target],
        crt: [...crtScript, 'download', target, BUCKET, PREFIX, sink.url],
      },
      async () => rmSync(target, { recursive: true, force: true }),
    );
  } finally {
    sink.stop();
    rmSync(work, { recursive: true, force: true });
  }
}

function addRows(report: Report, what: string, used: Record<Who, Usage[]>): void {
  const of = (who: Who, measured: keyof Usage): number => median(used[who].map((each) => each[measured]));
  const against = (who: 'aws' | 'crt', measured: 'wall' | 'cpu', most: number): void =>
    report.row({
      name: `${what}: ${measured === 'wall' ? 'time' : 'CPU'}`,
      unit: 's',
      value: of('polony', measured),
      against: of(who, measured),
      of: who === 'aws' ? '`aws s3 cp --recursive`' : 'the CRT client',
      ratio: of('polony', measured) / of(who, measured),
      reach: `at most ${most}`,
      met: of('polony', measured) / of(who, measured) <= most,
    });
  against('aws', 'wall', 1);
  against('aws', 'cpu', 1);
  against('crt', 'wall', 1.2);
  report.row({
    name: `${what}: peak memory`,
    unit: 'MiB',
    value: of('polony', 'memory'),
    against: of('aws', 'memory'),
    of: '`aws s3 cp --recursive`',
    ratio: of('polony', 'memory') / of('aws', 'memory'),
    reach: 'at most 150 MiB',
    met: of('polony', 'memory') <= 150,
  });
}
