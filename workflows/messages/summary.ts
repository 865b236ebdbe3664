import { cutToBytes } from '../../domain/names.js';

/** Temporal refuses a command whose summary is longer (dynamic configuration `limit.userMetadataSummarySize`). */
const MAXIMUM_SUMMARY_BYTES = 400;

/** Cuts a text to the size that Temporal accepts as the summary of an activity or workflow. */
export function toSummary(text: string): string {
  return cutToBytes(text, MAXIMUM_SUMMARY_BYTES);
}
