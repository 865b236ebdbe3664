/** The run folder in the sink's bucket. */
export const PREFIX = 'runs/AV240001/20260115_AV240001_BENCH/';

/** What the bench asks of the sink. The sink answers with the id and its {@link SinkState}. */
export interface SinkMessage {
  id: number;
  /** Objects that are there at once, without an upload: key and size. */
  put?: [key: string, size: number][];
  /** Whether to forget all objects first. */
  clear?: boolean;
}

/** Counts since the sink began. */
export interface SinkState {
  /** Bytes of bodies that arrived. */
  received: number;
  /** Bytes of objects that were sent. */
  sent: number;
}
