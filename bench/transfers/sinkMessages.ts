/** The storage connection, and the run, that the sink's API stands for. */
export const ID = '01920000-0000-7000-8000-000000000000';
/** The sink's bucket. */
export const BUCKET = 'bench';
export const RUN_FOLDER = '20260115_AV240001_BENCH';
/** The run folder in the sink's bucket. */
export const PREFIX = `runs/AV240001/${RUN_FOLDER}/`;

/** The ETag of an object, which the sink makes of its size: it hashes nothing. */
export const etagOf = (size: number): string => `"${size.toString(16).padStart(32, '0')}"`;

/** What the bench asks of the sink. The sink answers with the id and its {@link SinkState}. */
export interface SinkMessage {
  id: number;
  /** Objects that are there at once, without an upload: key and size. */
  put?: [key: string, size: number][];
  /** Whether to forget all objects first. */
  clear?: boolean;
  /** Whether polony's API says that the run is complete. It says so until it is told otherwise. */
  complete?: boolean;
  /** Answers only when as many more bytes were received or sent. */
  afterBytes?: number;
}

/** Counts since the sink began. */
export interface SinkState {
  /** Bytes of bodies that arrived. */
  received: number;
  /** Requests that would change a bucket. */
  writes: number;
  /** Bytes of objects that were sent. */
  sent: number;
}
