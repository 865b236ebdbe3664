import { readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';

/**
 * How long builds stay that nobody uses. What uses one for longer touches its folder every hour (fromSources.mjs), unless
 * the machine sleeps, as over a weekend.
 */
const UNUSED_MS = 7 * 86_400_000;
/** Ends the name of a build that is being removed. */
const REMOVED = '.removed';

/**
 * Removes builds that nobody has used for a week. Other processes may build and remove at the same time.
 * @param builds the folder of all builds
 * @param current one that stays
 */
export function removeOldBuilds(builds: string, current: string): void {
  for (const folder of readdirSync(builds).map((name) => path.join(builds, name))) {
    if (folder === current) continue;
    try {
      if (Date.now() - statSync(folder).mtimeMs <= UNUSED_MS) continue;
      // A removal that is interrupted must not leave half a build under its name.
      const removed = folder.endsWith(REMOVED) ? folder : `${folder}${REMOVED}`;
      renameSync(folder, removed);
      rmSync(removed, { recursive: true, force: true });
    } catch {
      // Another process has removed it, or it belongs to another user. The next build tries again.
    }
  }
}
