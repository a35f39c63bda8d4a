// Arrivals only: a ramp to the rate that is thought to be the limit (RATE), and past it to twice that.
// run.sh gives the server so few permits (ONSALE_REQUESTS_MAX) that this is past its limit, and the
// run fails if nobody was refused: then it has shown nothing.
//
// Whoever is not given a place must be refused at once and told when to come back; nobody may be
// left hanging, and those who get a place must get it soon, also past the limit.

import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';

import { knobs, number } from './lib/knobs.js';

const RATE = number('RATE', 2000);
const SECONDS = number('SECONDS', 10);

const placed = new Counter('placed');
const refused = new Counter('refused');
const expected = new Rate('answered_as_promised');
const latency = new Trend('placed_ms', true);

export const options = {
  scenarios: {
    spike: {
      executor: 'ramping-arrival-rate',
      timeUnit: '1s',
      startRate: Math.ceil(RATE / 10),
      stages: [
        { target: RATE, duration: `${SECONDS}s` },
        { target: 2 * RATE, duration: `${SECONDS}s` },
        { target: 2 * RATE, duration: `${SECONDS}s` },
      ],
      preAllocatedVUs: 1000,
      maxVUs: 1000,
    },
  },
  discardResponseBodies: true,
  thresholds: {
    answered_as_promised: ['rate==1'],
    placed_ms: [`p(99)<${knobs.p99Ms}`],
    placed: ['count>0'],
    refused: ['count>0'],
    // What was not sent was not refused either.
    dropped_iterations: ['count==0'],
  },
  userAgent: 'onsale-loadtest',
};

const body = JSON.stringify({ concertId: knobs.concertId });
const params = { headers: { 'Content-Type': 'application/json' }, timeout: '15s' };

export default function arrive() {
  const { status, headers, timings } = http.post(`${knobs.baseUrl}/user/token`, body, params);
  expected.add(status === 201 || (status === 503 && Number(headers['Retry-After']) > 0));
  if (status === 201) {
    placed.add(1);
    latency.add(timings.duration);
  } else {
    refused.add(1);
  }
}
