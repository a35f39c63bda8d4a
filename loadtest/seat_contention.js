// Seats only: PEOPLE are inside and all want a seat of the same few within a second.
//
// Each of them begins at their moment of that second, however slow the answers to the others are (an
// open model), and asks for one seat after the other, in an order of their own, until they hold one or
// have been refused all. In the end every seat is held once, and nobody holds two.

import http from 'k6/http';
import { check, fail, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';

import { knobs, number } from './lib/knobs.js';

const PEOPLE = number('PEOPLE', 300);
const BATCH = 50;
const DATE = knobs.dates[0];

const latency = new Trend('reserve_ms', true);
const won = new Counter('won');
const lost = new Counter('lost');
const came = new Counter('people');
/** Seats that were free, minus those that somebody won. */
const gap = new Counter('seat_gap');

http.setResponseCallback(http.expectedStatuses(200, 201, 409));

export const options = {
  scenarios: {
    fight: {
      executor: 'constant-arrival-rate',
      timeUnit: '1s',
      rate: PEOPLE,
      // A little longer, because k6 rounds at the end; who comes too much is sent home in `fight`.
      duration: '1100ms',
      // One for everybody, and for who comes too much.
      preAllocatedVUs: Math.ceil(1.1 * PEOPLE) + 2,
      gracefulStop: '2m',
    },
  },
  setupTimeout: '120s',
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    reserve_ms: [`p(99)<${knobs.p99Ms}`],
    seat_gap: ['count==0'],
    people: [`count==${PEOPLE}`],
    dropped_iterations: ['count==0'],
  },
  userAgent: 'onsale-loadtest',
};

const headers = (token) => ({ headers: { 'Content-Type': 'application/json', 'Queue-Token': token } });
const seatsUrl = `${knobs.baseUrl}/concert/available-seats?concertId=${knobs.concertId}&concertDate=${DATE}`;
const free = (token) => http.get(seatsUrl, headers(token)).json('availableSeats');

/** Lets everybody in. */
export function setup() {
  const base = Math.floor(Date.now() / 1000) * 1_000_000;
  const tokens = [];
  while (tokens.length < PEOPLE) {
    const joins = [];
    for (let n = tokens.length; n < Math.min(PEOPLE, tokens.length + BATCH); n += 1) {
      const body = JSON.stringify({ concertId: knobs.concertId, userId: base + n });
      joins.push({ method: 'POST', url: `${knobs.baseUrl}/user/token`, body, params: headers('') });
    }
    for (const answer of http.batch(joins)) {
      if (answer.status !== 201) fail(`an arrival was answered ${answer.status}: ${answer.body}`);
      tokens.push(answer.json('token'));
    }
  }
  for (const token of tokens) {
    for (;;) {
      const standing = http.get(`${knobs.baseUrl}/user/token/status`, headers(token)).json();
      if (standing.status === 'active') break;
      sleep(standing.pollAfter);
    }
  }
  const seats = free(tokens[0]);
  if (seats.length === 0) fail(`no seat of concert ${knobs.concertId} is free on ${DATE}`);
  gap.add(seats.length);
  return { base, tokens, seats };
}

export default function fight({ base, tokens, seats }) {
  const me = exec.scenario.iterationInTest;
  if (me >= PEOPLE) return;
  came.add(1);
  const token = tokens[me];
  for (let look = 0; look < seats.length; look += 1) {
    const seatNumber = seats[(me * 7 + look) % seats.length];
    const body = JSON.stringify({
      userId: base + me,
      concertId: knobs.concertId,
      concertDate: DATE,
      seatNumber,
    });
    const answer = http.post(`${knobs.baseUrl}/concert/reserve`, body, headers(token));
    latency.add(answer.timings.duration);
    const isMine = answer.status === 201;
    check(answer, {
      'a seat is held or taken': () => isMine || answer.json('code') === 'seat-taken',
    });
    if (isMine) {
      won.add(1);
      gap.add(-1);
      return;
    }
    lost.add(1);
  }
}

export function teardown({ tokens }) {
  check(free(tokens[0]), { 'no seat is left': (seats) => seats.length === 0 });
}
