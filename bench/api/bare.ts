import Fastify from 'fastify';
import pg from 'pg';
import type { BareMessage } from './bareMessages.js';

// A server that is nothing but Fastify and the driver of PostgreSQL: it executes the statements that the bench gave it,
// and answers with their rows. Runs in a process of its own. Its argument is the address of the database.

const pool = new pg.Pool({ connectionString: process.argv[2]!, max: 10 });
let routes: BareMessage['routes'] = [];
const app = Fastify();
app.get<{ Params: { route: string } }>('/:route', async ({ params }) => {
  let rows: unknown[] = [];
  for (const { sql, parameters } of routes[Number(params.route)]!)
    rows = (await pool.query(sql, [...parameters])).rows as unknown[];
  return rows;
});
process.on('message', (message: BareMessage) => {
  routes = message.routes;
  process.send!({});
});
process.on('disconnect', () => process.exit(0));
const url = await app.listen({ host: '127.0.0.1', port: 0 });
process.send!({ url });
