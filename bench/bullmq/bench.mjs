// SPDX-License-Identifier: MIT
// BullMQ's no-op jobs on a Redis: how many are added, processed and run end to end in a second.
// node bench.mjs <port> [jobs] [concurrency]
import { Queue, QueueEvents, Worker } from 'bullmq';

const port = Number(process.argv[2]);
const count = Number(process.argv[3] ?? 20000);
const concurrency = Number(process.argv[4] ?? 50);
const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
const name = 'noop-' + process.pid;

const queue = new Queue(name, { connection });
const settings = { removeOnComplete: { count: 10000 } };
await queue.waitUntilReady();

// Added: fifty callers, each awaits one after the other.
let left = count;
const add = async () => { while (left-- > 0) await queue.add('noop', { a: 1 }, settings); };
let began = process.hrtime.bigint();
const seconds = () => Number(process.hrtime.bigint() - began) / 1e9;
await Promise.all(Array.from({ length: concurrency }, add));
const added = count / seconds();

// Processed: what lies there.
let done = 0;
let over;
const all = new Promise((resolve) => { over = resolve; });
began = process.hrtime.bigint();
const worker = new Worker(name, async () => 1, { connection, concurrency });
worker.on('completed', () => { if (++done === count) over(); });
await all;
const processed = count / seconds();

// End to end: fifty callers, each awaits the end of its job.
const events = new QueueEvents(name, { connection });
events.setMaxListeners(0);
queue.setMaxListeners(0);
await events.waitUntilReady();
left = count;
const play = async () => {
  while (left-- > 0) {
    const job = await queue.add('noop', { a: 1 }, settings);
    await job.waitUntilFinished(events);
  }
};
began = process.hrtime.bigint();
await Promise.all(Array.from({ length: concurrency }, play));
const played = count / seconds();

// Unloaded: one after the other.
const times = [];
for (let i = 0; i !== 2000; ++i) {
  const at = process.hrtime.bigint();
  const job = await queue.add('noop', { a: 1 }, settings);
  await job.waitUntilFinished(events);
  times.push(Number(process.hrtime.bigint() - at) / 1e6);
}
times.sort((a, b) => a - b);
const row = (what, figure) => console.log(('BullMQ: ' + what).padEnd(40), figure);
const rate = (n) => String(Math.round(n)).padStart(10) + ' jobs/s';
row('added', rate(added));
row('run, of a backlog', rate(processed));
row('end to end', rate(played));
row('one after the other, the median',
    times[1000].toFixed(3).padStart(10) + ' ms, 99 of 100 ' + times[1980].toFixed(3) + ' ms');
await worker.close();
await events.close();
await queue.close();
process.exit(0);
