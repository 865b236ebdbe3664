/** What the bench tells the bare server: the statements of each route. */
export interface BareMessage {
  routes: { sql: string; parameters: readonly unknown[] }[][];
}
