// Polls only: PEOPLE wait in line and ask where they stand, RATE times per second in all, while the
// line moves (BATCH of the server per second).
//
// Their tokens are distinct, and each is polled by one virtual user alone, so that every position is
// compared with the one before. None may grow, and no answer may be late: a poll of a waiting token
// asks no store.

import http from 'k6/http';
import { check, fail } from 'k6';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';

import { knobs, number } from './lib/knobs.js';

const PEOPLE = number('PEOPLE', 2000);
const RATE = number('RATE', 3000);
const SECONDS = number('SECONDS', 20);
const USERS = Math.min(300, PEOPLE);
const JOIN_AT_ONCE = 50;

const latency = new Trend('poll_ms', true);
/** Polls that found a smaller position than the one before. */
const moved = new Counter('moved');

export const options = {
  scenarios: {
    polls: {
      executor: 'constant-arrival-rate',
      timeUnit: '1s',
      rate: RATE,
      duration: `${SECONDS}s`,
      preAllocatedVUs: USERS,
      maxVUs: USERS,
    },
  },
  setupTimeout: '60s',
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    poll_ms: [`p(99)<${knobs.p99Ms}`],
    moved: ['count>0'],
    dropped_iterations: ['count==0'],
  },
  userAgent: 'onsale-loadtest',
};

/** Puts everybody in line; answers token and first position of each. */
export function setup() {
  const request = {
    method: 'POST',
    url: `${knobs.baseUrl}/user/token`,
    body: JSON.stringify({ concertId: knobs.concertId }),
    params: { headers: { 'Content-Type': 'application/json' } },
  };
  const people = [];
  while (people.length < PEOPLE) {
    for (const answer of http.batch(Array(JOIN_AT_ONCE).fill(request))) {
      if (answer.status !== 201) fail(`an arrival was answered ${answer.status}: ${answer.body}`);
      const { token, queuePosition } = answer.json();
      people.push({ token, queuePosition });
    }
  }
  return people;
}

// What this virtual user saw last, by token.
const seen = {};

export default function poll(people) {
  // Every USERS-th person is this user's.
  const mine = Math.ceil((people.length - exec.vu.idInTest + 1) / USERS);
  const index = exec.vu.idInTest - 1 + USERS * (exec.vu.iterationInScenario % mine);
  const { token, queuePosition } = people[index];
  const before = seen[token] ?? queuePosition;
  const answer = http.get(`${knobs.baseUrl}/user/token/status`, { headers: { 'Queue-Token': token } });
  latency.add(answer.timings.duration);
  const position = answer.status === 200 ? answer.json('queuePosition') : Infinity;
  check(answer, {
    'a poll is answered 200': ({ status }) => status === 200,
    'a position never grows': () => position <= before,
  });
  if (position < before) moved.add(1);
  seen[token] = position;
}
