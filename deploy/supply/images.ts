import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isProgram, ROOT } from './packages.js';

/** An image that is not built here, and the variable that replaces it. */
export interface BaseImage {
  variable: string;
  /** The image with its tag. */
  image: string;
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** The images of the Dockerfile (`ARG NAME=image`) and of docker-compose.yml (`${NAME:-image}`), each once. */
export function listBaseImages(dockerfile: string, compose: string): BaseImage[] {
  const found = [
    ...dockerfile.matchAll(/^ARG (\w+_IMAGE)=(\S+)$/gm),
    ...compose.matchAll(/\$\{(\w+_IMAGE):-([^}]+)\}/g),
  ].map(([, variable, image]) => ({ variable: variable!, image: image! }));
  return [...new Map(found.map((each) => [each.variable, each])).values()];
}

/** The images of this repository. */
export function repositoryImages(): BaseImage[] {
  const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8');
  return listBaseImages(read('Dockerfile'), read('docker-compose.yml'));
}

/**
 * Asks the registry for the digest that a tag has now. `docker buildx` brings the login, and needs no engine.
 * @throws Error where it cannot be asked.
 */
function resolveDigest(image: string): string {
  const command = ['buildx', 'imagetools', 'inspect', image, '--format', '{{.Manifest.Digest}}'];
  const digest = execFileSync('docker', command, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  if (!DIGEST.test(digest)) throw new Error(`docker printed no digest for ${image}`);
  return digest;
}

/** The variables of a file as Compose reads it. */
export function readVariables(text: string): Map<string, string> {
  return new Map([...text.matchAll(/^(\w+)=(.*)$/gm)].map(([, name, value]) => [name!, value!.trim()]));
}

/** Sets variables in the text of such a file, and leaves its other lines as they are. */
export function setVariables(text: string, values: readonly (readonly [string, string])[]): string {
  return values.reduce((whole, [name, value]) => {
    const line = `${name}=${value}`;
    const existing = new RegExp(`^${name}=.*$`, 'm');
    if (existing.test(whole)) return whole.replace(existing, () => line);
    return `${whole}${whole === '' || whole.endsWith('\n') ? '' : '\n'}${line}\n`;
  }, text);
}

/** Images that no digest pins, by the variables of a file. */
export function findUnpinned(images: readonly BaseImage[], variables: ReadonlyMap<string, string>): BaseImage[] {
  return images.filter(({ variable, image }) => {
    const [name, digest] = (variables.get(variable) ?? '').split('@');
    return name !== image || digest === undefined || !DIGEST.test(digest);
  });
}

function pin(file: string, images: readonly BaseImage[]): void {
  const failed: string[] = [];
  const pinned = images.flatMap(({ variable, image }): [string, string][] => {
    try {
      return [[variable, `${image}@${resolveDigest(image)}`]];
    } catch (error) {
      const { stderr, message } = error as { stderr?: string; message: string };
      failed.push(`${image}: ${(stderr?.trim() || message).split('\n').pop()}`);
      return [];
    }
  });
  if (failed.length > 0) {
    process.stderr.write(`${failed.join('\n')}\nNo image was pinned: run this where \`docker buildx\` reaches them.\n`);
    process.exitCode = 1;
    return;
  }
  writeFileSync(file, setVariables(existsSync(file) ? readFileSync(file, 'utf8') : '', pinned));
  process.stdout.write(`${pinned.map(([name, value]) => `${name}=${value}`).join('\n')}\nWritten to ${file}.\n`);
}

function check(file: string, images: readonly BaseImage[]): void {
  const variables = readVariables(existsSync(file) ? readFileSync(file, 'utf8') : '');
  const unpinned = findUnpinned(images, variables);
  if (unpinned.length === 0) {
    process.stdout.write(`${file} pins all ${images.length} images by digest.\n`);
    return;
  }
  for (const { variable, image } of unpinned) process.stderr.write(`${variable} does not pin ${image} by digest\n`);
  process.stderr.write(`Run \`npm run images:pin\`. It writes the digests to ${file}.\n`);
  process.exitCode = 1;
}

// `images.ts pin [file]` and `images.ts check [file]`; the file is the .env of Docker Compose by default.
if (isProgram(import.meta.url)) {
  const [what, file = path.join(process.env.INIT_CWD ?? ROOT, '.env')] = process.argv.slice(2);
  (what === 'pin' ? pin : check)(file, repositoryImages());
}
