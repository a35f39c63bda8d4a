// A ticket sale opens: some thousand people arrive within seconds and want the few seats there are.
//
// Open model: people come at their rate, however slow the server is. Each iteration is one person.
// The run fails (exit code 99) when a threshold is missed; among them are the invariants: a seat
// has one owner, what is gone is owned, and money adds up. See README.md beside this file.

import { fail, sleep } from 'k6';
import exec from 'k6/execution';

import * as api from './lib/client.js';
import { knobs } from './lib/knobs.js';
import { seatGap, seatsFreeAtEnd, seatsFreeAtStart, thresholds } from './lib/metrics.js';
import { visit } from './lib/person.js';
import { report } from './lib/report.js';

export { handleSummary };

const timeUnit = `${knobs.seconds}s`;
// A little longer, because k6 rounds at the end; who comes too much is sent home in `person`.
const steady = {
  executor: 'constant-arrival-rate',
  rate: knobs.arrivals,
  duration: `${knobs.seconds * 1000 + 500}ms`,
};
// Twice the mean rate at first, falling to none: the same number of people in the same time.
const spike = {
  executor: 'ramping-arrival-rate',
  startRate: 2 * knobs.arrivals + 10,
  stages: [{ target: 0, duration: timeUnit }],
};

export const options = {
  scenarios: {
    ticket_open: {
      ...(knobs.shape === 'spike' ? spike : steady),
      timeUnit,
      // One for everybody: making more during the rush would disturb what is measured.
      preAllocatedVUs: knobs.arrivals,
      maxVUs: knobs.arrivals + 10,
      gracefulStop: `${knobs.patienceSeconds + knobs.retrySeconds + 60}s`,
    },
  },
  thresholds: thresholds(),
  summaryTrendStats: ['min', 'avg', 'p(50)', 'p(95)', 'p(99)', 'max', 'count'],
  setupTimeout: '60s',
  teardownTimeout: '60s',
  noCookiesReset: true,
  userAgent: 'onsale-loadtest',
};

/** Lets one inspector in before the sale, who counts the free seats before and after. */
export function setup() {
  const run = knobs.run || Math.floor(Date.now() / 1000);
  const userIdBase = run * 1_000_000;
  const joined = api.join(userIdBase);
  if (!joined.ok) fail(`the inspector was not let in: ${joined.status} ${joined.code}`);
  const { token } = joined.json;
  for (let standing = joined.json; standing.status !== 'active'; ) {
    sleep(standing.pollAfter);
    standing = api.status(token).json;
  }
  const free = countFree(token);
  if (free === 0) fail(`concert ${knobs.concertId} has no free seat to begin with`);
  seatsFreeAtStart.add(free);
  seatGap.add(free);
  return { token, userIdBase };
}

export default function person({ userIdBase }) {
  const number = exec.scenario.iterationInTest;
  if (number < knobs.arrivals) visit(number, userIdBase);
}

export function teardown({ token }) {
  const free = countFree(token);
  seatsFreeAtEnd.add(free);
  seatGap.add(-free);
}

function countFree(token) {
  const dates = api.dates(token);
  if (!dates.ok) fail(`the inspector could not read the dates: ${dates.status} ${dates.code}`);
  let free = 0;
  for (const date of dates.json.availableDates) free += api.seats(token, date).json.availableSeats.length;
  return free;
}

function handleSummary(data) {
  return report(data);
}
