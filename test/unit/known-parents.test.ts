import type { ListObjectsV2CommandInput, S3Client } from '@aws-sdk/client-s3';
import { describe, expect, it } from 'vitest';
import { KnownParents } from '../../activities/runs/knownParents.js';
import { type FolderVisitor, type FoundFolders, walkRunFolders } from '../../activities/runs/runFolders.js';
import type { SearchedStorage } from '../../store/connections/storageSearch.js';

const MINUTE = 60_000;

describe('the folders that a search lists', () => {
  const known = (intervalMs = MINUTE, random = 0.5): KnownParents => new KnownParents(intervalMs, () => random);

  it('are all at first, and those with runs once all were listed', () => {
    const parents = known();
    expect(parents.next(0)).toBeUndefined();
    parents.searchedAll(['AV1', 'AV2'], 0);
    expect(parents.next(MINUTE)).toEqual(['AV1', 'AV2']);
  });

  it('are all again after five minutes, at a moment that differs between connections', () => {
    const parents = known(MINUTE, 0.2);
    parents.searchedAll(['AV1'], 0);
    expect(parents.next(0.4 * MINUTE)).toEqual(['AV1']);
    expect(parents.next(MINUTE)).toBeUndefined();
    parents.searchedAll(['AV1', 'AV3'], MINUTE);
    // Searches do not begin exactly when they should.
    expect(parents.next(5 * MINUTE + 300)).toEqual(['AV1', 'AV3']);
    expect(parents.next(6 * MINUTE - 300)).toBeUndefined();
  });

  it.each([45, 60, 120, 200, 299, 3600])(
    'are all about every five minutes where searches come every %i s',
    (seconds) => {
      const parents = known(seconds * 1000, 1);
      let [complete, now] = [0, 0];
      for (let at = 0; now < 24 * 60 * MINUTE; at++) {
        now = at * seconds * 1000 + (at % 3) * 100;
        if (parents.next(now) !== undefined) continue;
        complete++;
        parents.searchedAll(['AV1'], now);
      }
      const pause = now / complete / 1000;
      expect(pause).toBeGreaterThanOrEqual(Math.min(seconds, 150));
      expect(pause).toBeLessThanOrEqual(Math.max(seconds, 300 + seconds / 2) + 1);
    },
  );

  it('are all where searches follow each other fast, where none has runs, and where very many have', () => {
    for (const [parents, folders] of [
      [known(2000), ['AV1']],
      [known(), []],
      [known(), Array.from({ length: 1001 }, (_, at) => `AV${at}`)],
    ] as const) {
      parents.searchedAll(folders, 0);
      expect(parents.next(1)).toBeUndefined();
    }
  });

  it('are all after a search that found something or failed', () => {
    const parents = known();
    parents.searchedAll(['AV1'], 0);
    parents.forget();
    expect(parents.next(1)).toBeUndefined();
  });
});

describe('a search of known folders', () => {
  const TREE: Readonly<Record<string, string[]>> = {
    'runs/': ['runs/AV240001/', 'runs/AV240002/', 'runs/notes/'],
    'runs/AV240001/': ['runs/AV240001/20260115_AV240001_ONE/'],
    'runs/AV240002/': ['runs/AV240002/20260115_AV240002_TWO/'],
    'runs/notes/': [],
  };
  const storage = { bucket: 'lab', prefix: 'runs', run_depth: 0 } as SearchedStorage;

  async function search(
    parents?: readonly string[],
    listed: string[] = [],
  ): Promise<{ listed: string[]; found: FoundFolders[] }> {
    const found: FoundFolders[] = [];
    const send = async ({ input }: { input: ListObjectsV2CommandInput }) => {
      listed.push(input.Prefix!);
      if (input.Prefix!.endsWith('/DENIED/')) throw new Error('denied');
      return { CommonPrefixes: (TREE[input.Prefix!] ?? []).map((Prefix) => ({ Prefix })) };
    };
    const visitor: FolderVisitor = {
      visit: async (folders) => void found.push(folders),
      stopping: new AbortController().signal,
      ...(parents && { parents }),
    };
    // The pages of the SDK ask whether it is a client of S3.
    const { S3Client: Client } = await import('@aws-sdk/client-s3');
    const s3 = Object.assign(Object.create(Client.prototype) as S3Client, { send });
    await walkRunFolders(s3, storage, visitor);
    return { listed, found };
  }

  it('lists them and nothing else, and finds what a search of all finds in them', async () => {
    const all = await search();
    expect(all.listed).toEqual(['runs/', 'runs/AV240001/', 'runs/AV240002/', 'runs/notes/']);
    const parents = all.found.map(({ parentPath }) => parentPath);
    expect(parents).toEqual(['AV240001', 'AV240002']);
    expect(await search(parents)).toEqual({ listed: ['runs/AV240001/', 'runs/AV240002/'], found: all.found });
  });

  it('ends at the first that cannot be listed, so that an endpoint that does not answer is asked once', async () => {
    const listed: string[] = [];
    await expect(search(['DENIED', 'AV240001'], listed)).rejects.toThrow('denied');
    expect(listed).toEqual(['runs/DENIED/']);
  });

  it('finds nothing in a folder that is gone', async () => {
    expect(await search(['AV240003'])).toEqual({ listed: ['runs/AV240003/'], found: [] });
  });
});
