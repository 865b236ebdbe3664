import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { CliError, EXIT } from '../exit.js';
import { cell } from '../output.js';

/** A file of a run folder on this machine. {@link openLocalFile} opens it. */
export interface LocalFile {
  /** Path relative to the run folder, with slashes. */
  name: string;
  /** Path of the file. */
  file: string;
  /** Bytes. */
  size: number;
  mtimeMs: number;
  /** When content or name last changed (ctime). Unlike `mtimeMs`, no program can set it back. */
  changedMs: number;
  /** Whether links may lead to the file; see {@link WalkOptions.followLinks}. */
  followLinks: boolean;
}

/** How to walk through a run folder. */
export interface WalkOptions {
  /** Whether to read what symbolic links point to in their place. Otherwise they are errors. */
  followLinks?: boolean;
}

/** A folder that the walk enters. */
interface Place {
  /** Path relative to the run folder; empty for the run folder itself. */
  name: string;
  /** The link that leads to it: itself, or the last one on the way to it. */
  link?: string;
  /** Real paths of the folders on the way to it. */
  parents: readonly string[];
}

/** What a folder contains. */
interface FolderContent {
  files: LocalFile[];
  /** Names relative to the run folder, and whether each is a link. */
  folders: { name: string; isLink: boolean }[];
}

/** Entries of a folder that are looked at together: one after the other would wait for a thread each time. */
const STATS_AT_ONCE = 256;

const problem = (message: string): CliError => new CliError(message, EXIT.usage);

/** Somebody who writes to the run folder must not choose what the upload reads elsewhere on this machine. */
const replacedByLink = (name: string): CliError =>
  new CliError(
    `${cell(name)} was replaced by a symbolic link during the upload, so it was not read. Without --follow-symlinks, ` +
      'an upload reads only what is in the run folder itself. Find out who changes the folder, then run the same ' +
      'command again',
  );

const changed = (name: string): CliError =>
  new CliError(`${cell(name)} changed or disappeared during the upload; run the same command again`);

const linkProblem = (name: string): CliError =>
  problem(
    `${cell(name)} is a link. To upload what links point to, add --follow-symlinks; or remove it from the folder`,
  );

const deviceProblem = (name: string): CliError =>
  problem(`${cell(name)} is a device; a run folder may hold only files and folders. Remove it from the folder`);

/** Reads what an entry is, or what the link in its place points to. @throws CliError for links that lead nowhere */
async function statEntry(name: string, file: string, followLinks: boolean): Promise<{ found: Stats; isLink: boolean }> {
  return followEntry(name, file, followLinks, await lstat(file));
}

async function followEntry(
  name: string,
  file: string,
  followLinks: boolean,
  entry: Stats,
): Promise<{ found: Stats; isLink: boolean }> {
  if (!entry.isSymbolicLink()) return { found: entry, isLink: false };
  if (!followLinks) throw linkProblem(name);
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => {
    throw problem(`${cell(name)} is a link that leads nowhere (${error.code}). Repair or remove it`);
  });
  return { found, isLink: true };
}

/** One walk through a run folder. */
class Walk {
  /** What links are followed to, by real path. Without links, no folder can be entered twice. */
  readonly #entered = new Map<string, Place>();

  constructor(
    /** Real path of the run folder. */
    private readonly root: string,
    private readonly followLinks: boolean,
  ) {}

  async *enter(place: Place): AsyncGenerator<LocalFile[]> {
    const real = await this.#resolve(place);
    const { files, folders } = await this.#read(place.name);
    // What was read lies in the folder only if no link was in its place meanwhile.
    if (!this.followLinks) await this.#resolve(place);
    if (files.length > 0) yield files;
    for (const { name, isLink } of folders)
      yield* this.enter({ name, link: isLink ? name : place.link, parents: [...place.parents, real] });
  }

  /**
   * Finds the real path of a folder. Every real folder is entered once at most: links that lead to each other's folders
   * would otherwise make the walk endless, or let the number of files grow exponentially.
   * @throws CliError that names the link
   */
  async #resolve(place: Place): Promise<string> {
    const file = path.join(this.root, place.name);
    const real = await realpath(file);
    if (!this.followLinks) {
      if (real !== file) throw replacedByLink(place.name === '' ? file : place.name);
      return real;
    }
    if (place.parents.some((parent) => parent === real || parent.startsWith(path.join(real, path.sep))))
      throw problem(
        `${cell(place.link ?? place.name)} is a link to a folder that contains it. Remove it from the folder`,
      );
    const other = this.#entered.get(real);
    if (other !== undefined)
      throw problem(
        `${cell(place.link ?? other.link)} is a link that leads a second time to the same folder: ` +
          `${cell(other.name)} and ${cell(place.name)} are both ${cell(real)}. ` +
          'An upload enters each folder once. Remove the link from the folder',
      );
    this.#entered.set(real, place);
    return real;
  }

  /** Reads one folder, sorted by name. @throws CliError for links, devices and names that S3 cannot list */
  async #read(folder: string): Promise<FolderContent> {
    const content: FolderContent = { files: [], folders: [] };
    const names = await readdir(path.join(this.root, folder));
    names.sort((one, other) => (one < other ? -1 : 1));
    for (let at = 0; at < names.length; at += STATS_AT_ONCE) {
      const some = names.slice(at, at + STATS_AT_ONCE);
      // A failure is thrown below, in the order of the names.
      const entries = await Promise.allSettled(some.map((each) => lstat(path.join(this.root, folder, each))));
      for (const [index, each] of some.entries()) await this.#add(content, folder, each, entries[index]!);
    }
    return content;
  }

  async #add(content: FolderContent, folder: string, each: string, entry: PromiseSettledResult<Stats>): Promise<void> {
    const { followLinks } = this;
    const name = folder === '' ? each : `${folder}/${each}`;
    // S3 answers listings in XML, which cannot write control characters.
    if (/[\p{Cc}\ufffd]/u.test(each))
      throw problem(`${cell(name)} has characters in its name that S3 cannot list; rename the file`);
    const file = path.join(this.root, name);
    if (entry.status === 'rejected') throw entry.reason;
    const { found, isLink } = await followEntry(name, file, followLinks, entry.value);
    if (found.isDirectory()) content.folders.push({ name, isLink });
    else if (found.isFile()) {
      const { size, mtimeMs, ctimeMs } = found;
      content.files.push({ name, file, size, mtimeMs, changedMs: ctimeMs, followLinks });
    } else throw deviceProblem(name);
  }
}

/**
 * Yields the files of a run folder, one folder at a time, so that memory does not grow with the files of the run.
 * @param root real path of the run folder
 * @throws CliError for a link that may not be followed, for devices, and for names that S3 cannot list
 */
export function walkRunFolder(root: string, { followLinks = false }: WalkOptions): AsyncGenerator<LocalFile[]> {
  return new Walk(root, followLinks).enter({ name: '', parents: [] });
}

/** The folder of a file, relative to the run folder; empty for the run folder itself. */
export function folderOf({ name }: LocalFile): string {
  return path.posix.dirname(name).replace(/^\.$/, '');
}

/**
 * Opens a file to read it. Where links are not followed, the file lies in its folder, even if somebody put a link in the
 * place of the file or of a folder after the walk.
 * @throws CliError for links and devices
 */
export async function openLocalFile({
  name,
  file,
  followLinks,
}: Pick<LocalFile, 'name' | 'file' | 'followLinks'>): Promise<FileHandle> {
  // A pipe without a writer would never open. Windows has neither flag.
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
  const handle = await open(file, followLinks ? flags : flags | (constants.O_NOFOLLOW ?? 0)).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ELOOP' && !followLinks) throw replacedByLink(name);
      throw error.code === 'ENOENT' ? changed(name) : error;
    },
  );
  try {
    if (!(await handle.stat()).isFile()) throw deviceProblem(name);
    if (!followLinks) await checkIsInFolder(handle, name, file);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Reads a text file of a run folder; undefined if there is none.
 * @throws CliError for links and devices, and what the system reports
 */
export async function readLocalText(
  root: string,
  name: string,
  { followLinks = false }: WalkOptions,
): Promise<string | undefined> {
  const file = path.join(root, name);
  try {
    await statEntry(name, file, followLinks);
    const handle = await openLocalFile({ name, file, followLinks });
    return await handle.readFile('utf8').finally(() => handle.close());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** `O_NOFOLLOW` refuses a link in the place of the file only, not one in the place of a folder on the way to it. */
async function checkIsInFolder(handle: FileHandle, name: string, file: string): Promise<void> {
  const folder = path.dirname(file);
  const isReal = await realpath(folder).then(
    (real) => real === folder,
    () => false,
  );
  const [opened, there] = [await handle.stat(), await lstat(file).catch(() => undefined)];
  if (!isReal || there?.isSymbolicLink() === true) throw replacedByLink(name);
  if (there === undefined || opened.dev !== there.dev || opened.ino !== there.ino) throw changed(name);
}
