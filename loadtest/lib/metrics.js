// What is measured, and what must hold: the metrics and their thresholds.
//
// A threshold compares one metric with a constant. Where two numbers must agree ("every seat that
// is gone has an owner"), one counter goes up with the first and down with the second, and must end
// at zero: so k6 itself fails the run, without anybody reading the report.

import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

import { knobs } from './knobs.js';

/** Time per request and step in ms, connecting included; an answer of any status counts. */
export const steps = {
  token: new Trend('step_token', true),
  status: new Trend('step_status', true),
  dates: new Trend('step_dates', true),
  seats: new Trend('step_seats', true),
  reserve: new Trend('step_reserve', true),
  charge: new Trend('step_charge', true),
  pay: new Trend('step_pay', true),
  release: new Trend('step_release', true),
  leave: new Trend('step_leave', true),
  balance: new Trend('step_balance', true),
  reservations: new Trend('step_reservations', true),
};

/** How a person's visit may end. */
export const ENDS = {
  owner: 'bought a seat',
  sold_out: 'was told that everything is sold',
  no_seat: 'found no free seat and left',
  quit: 'left the line while waiting',
  no_show: 'closed the page while waiting',
  let_go: 'held a seat and gave it back',
  hold_lost: 'held a seat and lost it before paying',
  expired: 'the token had expired',
  impatient: 'still waited when the patience ended',
  refused: 'an answer nobody expected',
  unanswered: 'no answer within the time for retries',
};

export const ends = new Counter('ends');
export const answered = new Rate('arrivals_answered');
export const unfinished = new Counter('people_unfinished');
export const server5xx = new Counter('http_5xx');
export const connectionErrors = new Counter('connection_errors');
export const retries = new Counter('retries');
export const seatConflicts = new Counter('seat_conflicts');
export const polls = new Counter('polls');

/** Seconds from the arrival's answer to the poll that said "active", and the first estimate of it. */
export const waited = new Trend('waited_seconds');
export const estimated = new Trend('estimated_seconds');
export const estimateGood = new Rate('estimate_within_20_percent');

export const seatsFreeAtStart = new Gauge('seats_free_at_start');
export const seatsFreeAtEnd = new Gauge('seats_free_at_end');
export const seatsOwned = new Counter('seats_owned');
export const seatOwners = new Counter('seat_owners');
/** Seats that are gone minus seats that somebody owns. */
export const seatGap = new Counter('seat_gap');

export const wonCharged = new Counter('won_charged');
export const wonPaid = new Counter('won_paid');
export const wonLeft = new Counter('won_left');
/** Charged minus paid minus what is left in the balances. */
export const wonGap = new Counter('won_gap');

/** The tag of one seat in `seat_owners`. */
export const seatTag = (date, seat) => `${date}/${seat}`;

// Beyond this many seats the counters per seat cost more than they tell; the database is asked.
const SEAT_COUNTERS_MAX = 1000;
export const seatsAreCounted = knobs.dates.length * knobs.seats <= SEAT_COUNTERS_MAX;

/** Seats that may be left over on each date because they are fewer than one person wants. */
export const leftOverMax = knobs.dates.length * (knobs.seatsPerUser - 1);

/** The thresholds of the run; also what makes k6 show a metric's values per tag. */
export function thresholds() {
  const rules = {
    arrivals_answered: ['rate==1'],
    people_unfinished: ['count==0'],
    dropped_iterations: ['count==0'],
    checks: ['rate==1'],
    seat_gap: ['count==0'],
    won_gap: ['count==0'],
    'ends{end:refused}': ['count==0'],
    'ends{end:unanswered}': ['count==0'],
  };
  if (knobs.expectSoldOut) rules.seats_free_at_end = [`value<=${leftOverMax}`];
  if (!knobs.allow5xx) {
    rules.http_5xx = ['count==0'];
    rules.connection_errors = ['count==0'];
    rules.step_token = [`p(99)<${knobs.p99Ms}`];
    rules.step_status = [`p(99)<${knobs.p99Ms}`];
  }
  for (const end of Object.keys(ENDS)) rules[`ends{end:${end}}`] ??= ['count>=0'];
  if (seatsAreCounted) {
    for (const date of knobs.dates) {
      for (let seat = 1; seat <= knobs.seats; seat += 1) {
        rules[`seat_owners{seat:${seatTag(date, seat)}}`] = ['count<=1'];
      }
    }
  }
  return rules;
}
