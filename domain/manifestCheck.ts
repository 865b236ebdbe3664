/** What is wrong with a run manifest, or may be; lines and columns from 1. */
export interface ManifestFinding {
  rule: string;
  line?: number;
  column?: number;
  message: string;
}

/** What a check of a run manifest has found. */
export interface ManifestReport {
  errors: ManifestFinding[];
  warnings: ManifestFinding[];
  samples: number;
}
