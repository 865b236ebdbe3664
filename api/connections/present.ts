/** The columns that show the state of a provider, a connection or a flow. */
interface StateColumns {
  status: string;
  status_description: string;
  time_verified: Date | null;
  time_used: Date | null;
  time_created: Date;
  time_updated: Date;
}

/** What `stateFields` of schemas.ts describes. @param prefix of the status, such as `PROVIDER_STATUS` */
export function presentState(prefix: string, row: StateColumns) {
  return {
    status: `${prefix}_${row.status}`,
    statusDescription: row.status_description,
    timeVerified: row.time_verified?.toISOString() ?? null,
    timeUsed: row.time_used?.toISOString() ?? null,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}
