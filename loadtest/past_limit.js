// More people than the server takes: arrivals at half its limit, at the limit and at twice that, one
// phase after the other, with charges beside them. `make bench` runs it and reads SUMMARY; on its own
// it needs a server, RATE (arrivals per second at the limit) and PAYERS (a JSON file of active people,
// [{"user": 1, "token": "…"}, …]).

import http from 'k6/http';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const CONCERT_ID = Number(__ENV.CONCERT_ID || 1);
const RATE = Number(__ENV.RATE || 2000);
const SECONDS = Number(__ENV.PHASE_SECONDS || 8);
// Enough to be refused if they were not let past the arrivals; each is tried once.
const CHARGES_PER_SECOND = 100;
const PAYERS = JSON.parse(open(__ENV.PAYERS));
// Of the limit, by phase. The first has no arrivals at all.
const LOADS = [0, 0.5, 1, 2];

http.setResponseCallback(http.expectedStatuses(200, 201, 503));

const phases = LOADS.map((load, phase) => ({
  load,
  answered: new Counter(`answered_${phase}`),
  refused: new Counter(`refused_${phase}`),
  charged: new Counter(`charged_${phase}`),
  latency: new Trend(`latency_${phase}`, true),
}));
const wrong = new Counter('wrong');

const scenarios = {};
LOADS.forEach((load, phase) => {
  const common = {
    executor: 'constant-arrival-rate',
    timeUnit: '1s',
    startTime: `${phase * (SECONDS + 1)}s`,
    duration: `${SECONDS}s`,
    gracefulStop: '5s',
    env: { PHASE: String(phase) },
  };
  const pool = { preAllocatedVUs: 500, maxVUs: 500 };
  if (load > 0) scenarios[`arrive_${phase}`] = { ...common, ...pool, rate: Math.round(load * RATE), exec: 'arrive' };
  scenarios[`charge_${phase}`] = { ...common, preAllocatedVUs: 50, maxVUs: 50, rate: CHARGES_PER_SECOND, exec: 'charge' };
});

export const options = {
  scenarios,
  discardResponseBodies: true,
  summaryTrendStats: ['med', 'p(99)', 'max'],
  thresholds: { wrong: ['count==0'] },
};

const JSON_BODY = { headers: { 'Content-Type': 'application/json' }, timeout: '10s' };
const ARRIVAL = JSON.stringify({ concertId: CONCERT_ID });

export function arrive() {
  const { answered, refused, latency } = phases[Number(__ENV.PHASE)];
  const response = http.post(`${BASE_URL}/user/token`, ARRIVAL, JSON_BODY);
  if (response.status === 201) {
    answered.add(1);
    latency.add(response.timings.duration);
  } else if (response.status === 503 && response.headers['Retry-After']) {
    refused.add(1);
  } else {
    wrong.add(1);
  }
}

export function charge() {
  const { user, token } = PAYERS[exec.scenario.iterationInTest % PAYERS.length];
  const headers = { ...JSON_BODY.headers, 'Queue-Token': token };
  const body = JSON.stringify({ userId: user, amount: 1 });
  const response = http.post(`${BASE_URL}/payment/charge`, body, { ...JSON_BODY, headers });
  if (response.status === 200) phases[Number(__ENV.PHASE)].charged.add(1);
  else if (response.status !== 503) wrong.add(1);
}

export function handleSummary({ metrics }) {
  const value = (name, of) => (metrics[name] ? metrics[name].values[of] : 0);
  const summary = {
    wrong: value('wrong', 'count'),
    dropped: value('dropped_iterations', 'count'),
    phases: LOADS.map((load, phase) => ({
      load,
      answered: value(`answered_${phase}`, 'count') / SECONDS,
      refused: value(`refused_${phase}`, 'count') / SECONDS,
      charged: value(`charged_${phase}`, 'count') / SECONDS,
      p99_ms: value(`latency_${phase}`, 'p(99)'),
    })),
  };
  const text = `${JSON.stringify(summary, null, 1)}\n`;
  return __ENV.SUMMARY ? { [__ENV.SUMMARY]: text } : { stdout: text };
}
