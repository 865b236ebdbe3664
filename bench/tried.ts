/**
 * What was tried for rows that are not met on the machine that the figures of docs/explanation/performance.md come from,
 * with the figures before and after. The rows are known by the beginning of their names.
 */
const TRIED: readonly { rows: readonly string[]; approaches: readonly string[] }[] = [
  {
    rows: ['upload of 4 GiB', 'download of 4 GiB'],
    approaches: [
      'no `Expect: 100-continue`, connections that are kept, and a CRC-32 instead of a SHA-256: from 1.5 times the CPU of ' +
        '`aws s3 cp` to 0.6 to 0.8',
      '`node:http` with a socket that reads into one buffer: a tenth less CPU for a download. A client for downloads ' +
        'alone: half of the time and CPU of `aws s3 cp`',
      'a process or thread for each core: about 40 MiB more for each, and one thread already takes as long as the CRT ' +
        'client',
    ],
  },
  {
    rows: ['starts a second while', 'CPU of worker and Temporal for a start'],
    approaches: [
      'a workflow cache of 5,000 while watched runs send heartbeats: no change, from 4.1 to 2.0 starts a second up to ' +
        '1,000 watched runs',
      'heartbeats of 60 seconds: 3.4 to 3.9 starts a second up to 800 watched runs',
      'leases instead of heartbeats: as many starts with 10,000 watched runs as with 100',
    ],
  },
  {
    rows: ['executions completed', 'CPU of worker and Temporal for an execution'],
    approaches: [
      'leases instead of heartbeats while a run is watched: from 0.48 to 0.57 of the rate, from 1.78 to 1.55 of the CPU',
      '26 statements in PostgreSQL for an execution instead of 36: 192 ms of CPU of the worker instead of 194',
      'one activity for GetWorkflow and StartRun: 322 ms of CPU instead of 378, and 3.0 executions a second instead of ' +
        '2.65 (a prototype). The bare workflow then has one activity less too',
      'what is left is the SDK of AWS (32 ms), the driver of PostgreSQL (21 ms), system calls (26 ms), and hooks of ' +
        'promises; each of them is a small part',
    ],
  },
  {
    rows: ['history of an execution'],
    approaches: [
      'one activity for GetWorkflow and StartRun, behind a patch: 34 events. The patch itself takes two of them',
      'the same, and a signal instead of a second activity when the run begins: 32 events',
      'both without a patch: 30 events, but workers of two versions beside each other would break workflows',
    ],
  },
  {
    rows: ['CPU of Temporal and worker with 500 idle storage connections'],
    approaches: [
      'searches without workflows: from 50 % of a core for six storage connections to 8 % for 500',
      'the times of searches written with one statement for all',
      'only the folders of known instruments in four of five searches: three list requests instead of five',
    ],
  },
  {
    rows: ['pages of 1,000 of a prefix'],
    approaches: [
      'after the first half minute of the process, in which it has little space for new objects: from 0.54 to 0.65',
      'one request for 1,000 keys instead of two for 500 each, where the keys of the listing are short, and names decoded ' +
        'only where they have something to decode: from 0.63 to 0.73 before to 0.73 to 0.79',
      'a reader whose work with a page does not count: 0.03 more',
      "a reader of XML for this answer alone instead of that of AWS's SDK: 1 ms for a page instead of 12. polony stays " +
        'with the SDK, whose reader both sides have. It takes 58 % of the time of the API, and polony itself 12 %',
    ],
  },
  {
    rows: [
      'runs of 1,000,000: each',
      'executions of 1,000,000: each',
      'runs of 1,000,000: first',
      'executions of 1,000,000: first',
      'runs of 1,000,000: middle',
      'executions of 1,000,000: middle',
      'runs of 1,000,000: last',
      'executions of 1,000,000: last',
    ],
    approaches: [
      'hooks without promises where they have nothing to do, and hashes in one call: 1.15 ms of CPU for a request that ' +
        'finds nothing instead of 1.10, which is noise, so polony has them no more',
      'the beginning of each query is built once: 1.03 ms instead of 1.15',
      'Node.js 24, which follows asynchronous work at less cost: 0.80 ms, and 0.67 to 0.78 of the requests a second',
      'pages of 100 runs: their size is counted without arrays of their members, and they are measured after the first ' +
        'half minute of the API: from 0.68 to 0.88 together',
    ],
  },
  {
    rows: ['runs of 1,000,000: the last page', 'executions of 1,000,000: the last page'],
    approaches: [
      'an index for each order, and the position of the last row instead of an offset',
      'a higher `parallel_setup_cost`, so that PostgreSQL starts no second process for a page: it then chose plans that ' +
        'read a whole table, 0.04 instead of 0.45',
      'executions by the name of their run: a condition whose rows PostgreSQL counts right, so that it reads the index',
      'executions: the ids of a page first, and then their columns, so that groups are sorted without wide rows',
    ],
  },
  {
    rows: ['start of the API', 'start of the worker'],
    approaches: [
      'one file for each process: half of the CPU',
      'Node.js 24 and its cache of compiled code: from 1.88 to 1.19 s for the API, from 2.41 to 1.89 s for the worker',
      'smaller code (minified): 1.86 s instead of 1.69 and 1.46 instead of 1.51 s for the API, which is noise',
      "Temporal's client within the file of the API: 1.65 s instead of 1.69 s, and 20 MiB more memory",
    ],
  },
  {
    rows: ['memory of an idle worker'],
    approaches: [
      'one file for each process: from 230 to 150 MB where it was measured first',
      'two arenas of glibc for all threads (`MALLOC_ARENA_MAX`): 138 MiB instead of 152',
      "Temporal's client within the file of the API: 175 to 190 MiB instead of 164 to 173",
      'smaller code (minified): 165 to 170 MiB instead of 164 to 173',
      'a collection of garbage by polony after the first half a minute: V8 has done it before, and nothing changes',
      "the SDK's thread for workflows loads Temporal's packages a second time, which the SDK does not let us change",
    ],
  },
  {
    rows: ['second start of `npm run local`'],
    approaches: [
      'processes from a build that is made once for each state of the sources: from 17.9 to 5.8 s',
      'one file for the stack itself: from 5.8 to 5.1 s',
      'a cache of compiled code, which Node.js 22 and later have: a tenth less for the API and the worker',
      'what is left is CPU: the API and the worker need 4.5 s of it, and the stand-ins 2 s, on two slow cores',
    ],
  },
  {
    rows: ['upload again of an unfinished run, 1,000,000'],
    approaches: [
      'a heap that grows by half of what is in use, before V8 collects it: from 196 to 149 MiB',
      'a set of known files that grows in parts, so that it is never in memory twice: from 155 to 149 MiB',
      'a small space for new objects: from 149 to 122 MiB',
    ],
  },
  {
    rows: ['CPU of a worker that watches'],
    approaches: [
      'leases instead of an activity with heartbeats for each run: from 2.7 times the CPU of 500 waiters to 1.2; without ' +
        'the heartbeats that were sent by mistake, from 1.8 and more to 0.9',
      'loaded executions are kept between two polls, so that a poll that sees no change asks PostgreSQL for nothing: 3.0 ' +
        'ms instead of 9.5',
      "GetRun by a request that is signed by hand, instead of AWS's SDK, in a process that does nothing else: 1.7 % of a " +
        'core instead of 2.65 %, eight times a second. A timer that does nothing takes 1 %, and 500 waiters take 2 %. ' +
        'polony stays with the SDK',
    ],
  },
];

/** What was tried for a row that is not met; undefined where nothing was. */
export function triedFor(name: string): readonly string[] | undefined {
  return TRIED.find(({ rows }) => rows.some((each) => name.startsWith(each)))?.approaches;
}
