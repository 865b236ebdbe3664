import type { InstrumentRow, MeasuredRun } from '../../../store/runs/instruments.js';

/** How long an instrument counts as active after polony last saw one of its runs, in days. */
const ACTIVE_DAYS = 90;

/**
 * An instrument in the shape of the vendor's contract, as far as its runs show it: the serial number names their
 * folder.
 */
export function presentInstrument(row: InstrumentRow) {
  const isActive = Date.now() - row.time_last_connected.getTime() < ACTIVE_DAYS * 86_400_000;
  return {
    serialNumber: row.serial_number,
    name: row.serial_number,
    model: 'AVITI',
    status: isActive ? 'INSTRUMENT_STATUS_ACTIVE' : 'INSTRUMENT_STATUS_INACTIVE',
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
    timeLastConnected: row.time_last_connected.toISOString(),
    softwareVersion: row.software_version,
  };
}

/** The metrics of one run, as a point of a plot over time. */
export function presentMeasuredRun(run: MeasuredRun) {
  const { metrics } = run;
  return {
    runId: run.id,
    runName: run.runName,
    status: `RUN_STATUS_${run.status}`,
    time: run.time.toISOString(),
    timeCompleted: run.timeCompleted?.toISOString() ?? null,
    side: run.side,
    kitName: run.kitConfiguration,
    polonyDensity: run.polonyDensity,
    softwareVersion: run.softwareVersion,
    totalReads: metrics.totalReads ?? null,
    totalYield: metrics.totalYield ?? null,
    q30: metrics.q30 ?? null,
    q40: metrics.q40 ?? null,
    q50: metrics.q50 ?? null,
    avgQ: metrics.avgQ ?? null,
    errorRate: metrics.errorRate ?? null,
    phixAlignmentRate: metrics.phixAlignmentRate ?? null,
    percentAssigned: run.percentAssigned,
  };
}
