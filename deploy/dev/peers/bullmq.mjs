// BullMQ: jobs in Redis. node bullmq.mjs SOCKET JOBS WORDS
import { Queue, Worker } from "bullmq";

const [path, count, words] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const connection = { path, maxRetriesPerRequest: null };
const queue = new Queue("peer", { connection });
await queue.waitUntilReady();
let total = 0;
for (const clients of [1, 64]) {
  const jobs = clients === 1 ? Math.min(count, 2000) : count;
  let left = jobs;
  const began = process.hrtime.bigint();
  await Promise.all(Array.from({ length: clients }, async () => {
    while (left-- > 0) await queue.add("nothing", { n: left });
  }));
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  total += jobs;
  console.log(`BullMQ (${words}): jobs accepted, ${clients} clients: ${Math.round(jobs / seconds)} a second`);
}
let finished;
let done = 0;
const all = new Promise((resolve) => { finished = resolve; });
const began = process.hrtime.bigint();
const worker = new Worker("peer", async () => {}, { connection, concurrency: 64, removeOnComplete: { count: 0 } });
worker.on("completed", () => { if (++done === total) finished(); });
await all;
const seconds = Number(process.hrtime.bigint() - began) / 1e9;
console.log(`BullMQ (${words}): jobs taken and ended, 64 at a time: ${Math.round(total / seconds)} a second`);
process.exit(0);
