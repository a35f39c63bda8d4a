// What k6 prints and writes at the end: a short text, a report for people, and the raw summary.

import { knobs } from './knobs.js';
import { ENDS, leftOverMax, seatTag, seatsAreCounted, steps } from './metrics.js';

/** The files and the text of `handleSummary`. */
export function report(data) {
  const facts = read(data);
  const files = { stdout: summaryText(facts) };
  if (knobs.reportDir) {
    files[`${knobs.reportDir}/report.md`] = markdown(facts);
    files[`${knobs.reportDir}/summary.json`] = `${JSON.stringify(data, null, 1)}\n`;
    files[`${knobs.reportDir}/numbers`] = numbers(facts);
  }
  return files;
}

// ---- reading ----

function read(data) {
  const value = (metric, field) => data.metrics[metric]?.values[field] ?? 0;
  const count = (metric) => value(metric, 'count');
  const ends = Object.entries(ENDS).map(([end, meaning]) => ({ end, meaning, people: count(`ends{end:${end}}`) }));
  const facts = {
    seconds: data.state.testRunDurationMs / 1000,
    people: ends.reduce((sum, { people }) => sum + people, 0),
    ends,
    owners: count('ends{end:owner}'),
    seats: {
      before: value('seats_free_at_start', 'value'),
      after: value('seats_free_at_end', 'value'),
      owned: count('seats_owned'),
      twice: seatsOwnedTwice(data),
    },
    won: { charged: count('won_charged'), paid: count('won_paid'), left: count('won_left') },
    count,
    value,
    thresholds: readThresholds(data),
    failedChecks: failedChecks(data.root_group),
  };
  facts.latencies = Object.keys(steps)
    .map((step) => ({ step, ...(data.metrics[`step_${step}`]?.values ?? { count: 0 }) }))
    .filter(({ count: requests }) => requests > 0);
  facts.invariants = invariants(facts);
  facts.passed = facts.thresholds.every(({ ok }) => ok) && facts.invariants.every(({ ok }) => ok);
  return facts;
}

function seatsOwnedTwice(data) {
  const twice = [];
  for (const date of knobs.dates) {
    for (let seat = 1; seat <= knobs.seats; seat += 1) {
      const owners = data.metrics[`seat_owners{seat:${seatTag(date, seat)}}`]?.values.count ?? 0;
      if (owners > 1) twice.push(`${date} seat ${seat} (${owners} owners)`);
    }
  }
  return twice;
}

function readThresholds(data) {
  const all = [];
  for (const [metric, { thresholds }] of Object.entries(data.metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds ?? {})) {
      // These only make k6 count per tag.
      if (rule !== 'count>=0') all.push({ metric, rule, ok });
    }
  }
  return all;
}

function failedChecks(group) {
  const here = group.checks.filter(({ fails }) => fails > 0);
  return here.concat(...group.groups.map(failedChecks));
}

function invariants({ seats, owners, won, people, count, value, failedChecks: failed }) {
  const failures = (name) => failed.find((check) => check.name === name)?.fails ?? 0;
  const wanted = owners * knobs.seatsPerUser;
  const gone = seats.before - seats.after;
  const none = (names) => names.every((name) => failures(name) === 0);
  return [
    {
      ok: value('arrivals_answered', 'rate') === 1 && count('people_unfinished') === 0,
      text: `every arrival was answered and every visit ended (${people} people)`,
    },
    { ok: gone === seats.owned, text: `seats gone (${gone}) = seats owned (${seats.owned})` },
    { ok: seats.owned === wanted, text: `seats owned (${seats.owned}) = owners × seats each (${wanted})` },
    {
      ok: !knobs.expectSoldOut || seats.after <= leftOverMax,
      text: `free seats at the end: ${seats.after}${knobs.expectSoldOut ? ` (at most ${leftOverMax} expected)` : ''}`,
    },
    // A concert with more seats than counters: the stores are asked for two owners afterwards.
    ...(seatsAreCounted
      ? [
          {
            ok: seats.twice.length === 0,
            text: `no seat has two owners${seats.twice.map((seat) => `; BUT ${seat}`).join('')}`,
          },
        ]
      : []),
    {
      ok: none(['everybody owns what they paid for, and nothing else', 'nobody owns more seats than they asked for']),
      text: 'everybody owns what they paid for, nothing else, and no more than they asked for',
    },
    {
      ok: none(['balance = charged - paid']),
      text: 'each balance = charged − paid, of everybody who came inside',
    },
    {
      ok: won.charged - won.paid === won.left,
      text: `in total: charged ${money(won.charged)} − paid ${money(won.paid)} = left ${money(won.left)}`,
    },
    {
      ok: none(['a payment repeated is the same payment', 'a charge repeated with its key counts once']),
      text: 'a repeated payment or charge counted once',
    },
    { ok: none(['a position never grows']), text: 'no position in line ever grew' },
  ];
}

// ---- writing ----

const mark = (ok) => (ok ? '✓' : '✗');
const money = (amount) => String(amount).replace(/\B(?=(\d{3})+$)/g, ',');
const ms = (value) => (value === undefined ? '–' : value.toFixed(value < 10 ? 2 : 1));
const percent = (rate) => `${(100 * rate).toFixed(0)} %`;

function summaryText(facts) {
  const { passed, people, owners, seats, invariants: all, thresholds, failedChecks: failed } = facts;
  const lines = [
    '',
    `${passed ? 'PASSED' : 'FAILED'}: ${people} people, ${owners} owners of ${seats.owned} seats, ${facts.seconds.toFixed(0)} s`,
    ...facts.ends.filter((end) => end.people > 0).map((end) => `  ${String(end.people).padStart(6)} ${end.meaning}`),
    '',
    ...facts.latencies.map(
      (row) =>
        `  ${row.step.padEnd(12)} ${String(row.count).padStart(6)} requests  p50 ${ms(row['p(50)'])}  p95 ${ms(row['p(95)'])}  p99 ${ms(row['p(99)'])}  max ${ms(row.max)} ms`,
    ),
    '',
    ...all.map(({ ok, text }) => `  ${mark(ok)} ${text}`),
    ...thresholds.filter(({ ok }) => !ok).map(({ metric, rule }) => `  ✗ threshold ${metric}: ${rule}`),
    ...failed.map(({ name, fails }) => `  ✗ check "${name}" failed ${fails} times`),
    '',
  ];
  return lines.join('\n');
}

function markdown(facts) {
  return [
    `# Ticket sale under load: ${facts.passed ? 'passed' : 'FAILED'}`,
    '',
    overview(facts),
    section('How the visits ended', endsTable(facts)),
    section('Invariants, as an outsider sees them', facts.invariants.map(({ ok, text }) => `- ${mark(ok)} ${text}`)),
    section('Time per request, in ms', latencyTable(facts)),
    section('The line', lineFacts(facts)),
    section('Thresholds', thresholdList(facts)),
    section('Run', runFacts(facts)),
  ].join('\n');
}

/** What check-stores.sh compares with the stores, as shell assignments. */
function numbers({ owners, seats, won }) {
  return `owners=${owners}\nseats_owned=${seats.owned}\nwon_charged=${won.charged}\nwon_paid=${won.paid}\n`;
}

const section = (title, lines) => [`## ${title}`, '', ...lines, ''].join('\n');

function overview({ people, owners, seats, seconds, count }) {
  return [
    `${people} people arrived within ${knobs.seconds} s and wanted ${knobs.seatsPerUser} of ${seats.before} free seats each.`,
    `${owners} of them own ${seats.owned} seats now, ${seats.after} seats are free. It took ${seconds.toFixed(1)} s in all.`,
    `5xx answers: ${count('http_5xx')}. Lost connections: ${count('connection_errors')}. Retries: ${count('retries')}.`,
    '',
  ].join('\n');
}

function endsTable({ ends, people }) {
  const rows = ends
    .filter((end) => end.people > 0)
    .map((end) => `| ${end.meaning} | ${end.people} | ${percent(end.people / people)} |`);
  return ['| end | people | share |', '|---|--:|--:|', ...rows];
}

function latencyTable({ latencies }) {
  const rows = latencies.map(
    (row) =>
      `| ${row.step} | ${row.count} | ${ms(row['p(50)'])} | ${ms(row['p(95)'])} | ${ms(row['p(99)'])} | ${ms(row.max)} |`,
  );
  return [
    '| step | requests | p50 | p95 | p99 | max |',
    '|---|--:|--:|--:|--:|--:|',
    ...rows,
    '',
    'From before connecting to the last byte, measured by k6 on the same machine as the server.',
  ];
}

function lineFacts({ value, count }) {
  return [
    `- time in line until the poll that said "active": p50 ${value('waited_seconds', 'p(50)').toFixed(1)} s, p95 ${value('waited_seconds', 'p(95)').toFixed(1)} s, longest ${value('waited_seconds', 'max').toFixed(1)} s (${count('waited_seconds')} people)`,
    `- the first estimate was within 20 % (or 2 s) of that for ${percent(value('estimate_within_20_percent', 'rate'))} of them`,
    `- ${count('polls')} polls, each when the server had said`,
    `- ${count('seat_conflicts')} times somebody else was faster at the chosen seat`,
  ];
}

function thresholdList({ thresholds }) {
  const perSeat = thresholds.filter(({ metric }) => metric.startsWith('seat_owners{'));
  const rest = thresholds.filter(({ metric }) => !metric.startsWith('seat_owners{'));
  const lines = rest.map(({ metric, rule, ok }) => `- ${mark(ok)} \`${metric}\`: ${rule}`);
  if (perSeat.length > 0) {
    lines.push(`- ${mark(perSeat.every(({ ok }) => ok))} \`seat_owners\` of each of ${perSeat.length} seats: count<=1`);
  }
  return lines;
}

function runFacts({ value }) {
  return [
    `- machine: ${knobs.machine}`,
    `- versions: ${knobs.versions}`,
    `- commit: ${knobs.commit}`,
    `- command: \`${knobs.command}\``,
    `- arrivals ${knobs.arrivals} in ${knobs.seconds} s (${knobs.shape}), seats per person ${knobs.seatsPerUser}, seed ${knobs.seed}, think time × ${knobs.think}`,
    `- HTTP requests: ${value('http_reqs', 'count')}, ${value('http_reqs', 'rate').toFixed(0)} per second`,
  ];
}
