/** A measurement and its reference, both in the same unit and from the same run. */
export interface Row {
  name: string;
  unit: string;
  value: number;
  against: number;
  /** Describes `against`. */
  of: string;
  /** `value` ÷ `against`. */
  ratio: number;
  /** What the row should reach, in words; absent for a row that is only reported. */
  reach?: string;
  met?: boolean;
  /** The line of a plot that the row is a point of, and for how many open executions. */
  series?: { title: string; at: number };
  /** What was tried to meet a row that is not met, with figures. The report adds it. */
  tried?: readonly string[];
  /** Why a row without a value was not measured. */
  problem?: string;
}
