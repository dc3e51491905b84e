// graphile-worker: jobs in PostgreSQL. node graphile.mjs URL JOBS
import pg from "pg";
import { makeWorkerUtils, run } from "graphile-worker";

const [url, count] = [process.argv[2], Number(process.argv[3])];
const pool = new pg.Pool({ connectionString: url, max: 16 });
const schema = `peer_${process.pid}`;
const logger = { error() {}, warn() {}, info() {}, debug() {}, scope() { return logger; } };
const utils = await makeWorkerUtils({ pgPool: pool, schema, logger });
await utils.migrate();
for (const clients of [1, 64]) {
  const jobs = clients === 1 ? Math.min(count, 2000) : count;
  let left = jobs;
  const began = process.hrtime.bigint();
  await Promise.all(Array.from({ length: clients }, async () => {
    while (left-- > 0) await utils.addJob("nothing", { n: left });
  }));
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  console.log(`graphile-worker: jobs accepted, ${clients} clients: ${Math.round(jobs / seconds)} a second`);
}
let done = 0;
const { rows: [{ n }] } = await pool.query(`select count(*)::int as n from ${schema}._private_jobs`);
let finished;
const all = new Promise((resolve) => { finished = resolve; });
const began = process.hrtime.bigint();
const runner = await run({
  pgPool: pool, schema, logger, concurrency: 64, noHandleSignals: true, pollInterval: 100,
  preset: { worker: { completeJobBatchDelay: 0, localQueue: { size: 1000 } } },
  taskList: { nothing: async () => { if (++done === n) finished(); } },
});
await all;
const seconds = Number(process.hrtime.bigint() - began) / 1e9;
console.log(`graphile-worker: jobs taken and ended, 64 at a time: ${Math.round(n / seconds)} a second`);
await runner.stop();
await pool.query(`drop schema ${schema} cascade`);
process.exit(0);
