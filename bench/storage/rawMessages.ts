/** Which pages of 1,000 to list, one after the other. */
export interface RawMessage {
  bucket: string;
  prefix: string;
  /** The number of the object before the first one. */
  from: number;
  pages: number;
}
