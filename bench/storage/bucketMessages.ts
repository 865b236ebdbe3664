/** A folder with many objects, and how many. */
export const LARGE_PREFIX = 'runs/large/';
export const OBJECTS = 1_000_000;
/** The folders of instruments below `runs/`, and how many run folders each has. */
export const INSTRUMENTS = ['AV240001', 'AV240002', 'AV240003', 'AV240004'];
export const FOLDERS_EACH = 5000;

/** The name of a run folder, by its number. */
export const folderOf = (instrument: string, at: number): string =>
  `20260101_${instrument}_RUN-${String(at).padStart(6, '0')}`;

/** Asks the bucket how many list requests it has had. */
export interface BucketMessage {
  id: number;
}
