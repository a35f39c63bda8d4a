// The API as a person's app uses it: one function per request, each timed under its step's name.
//
// Every request here may be repeated after a 503, a 429 or a lost connection: a user keeps the place
// in line, a hold of one's own answers as before, a charge carries its key, a token buys once.

import http from 'k6/http';
import { sleep } from 'k6';

import { knobs } from './knobs.js';
import { connectionErrors, retries, server5xx, steps } from './metrics.js';

// Refusals that are a normal part of a sale; anything else counts as failed.
http.setResponseCallback(http.expectedStatuses(200, 201, 401, 402, 403, 404, 409));

const REQUEST_TIMEOUT = '15s';

export const join = (userId) =>
  ask('token', 'POST', '/user/token', {
    body: userId === null ? { concertId: knobs.concertId } : { concertId: knobs.concertId, userId },
  });

export const status = (token) => ask('status', 'GET', '/user/token/status', { token });

export const leave = (token) => ask('leave', 'DELETE', '/user/token', { token });

export const dates = (token) => ask('dates', 'GET', '/concert/available-dates', { token });

export const seats = (token, concertDate) =>
  ask('seats', 'GET', '/concert/available-seats', {
    token,
    query: { concertId: knobs.concertId, concertDate },
  });

export function reserve(token, userId, concertDate, numbers) {
  const body = { userId, concertId: knobs.concertId, concertDate };
  if (numbers.length === 1) body.seatNumber = numbers[0];
  else body.seatNumbers = numbers;
  return ask('reserve', 'POST', '/concert/reserve', { token, body });
}

export const release = (token, userId, reservationId) =>
  ask('release', 'DELETE', '/concert/reserve', { token, query: { userId, reservationId } });

export const charge = (token, userId, amount, key) =>
  ask('charge', 'POST', '/payment/charge', { token, key, body: { userId, amount } });

export const pay = (token, userId, key) =>
  ask('pay', 'POST', '/payment', { token, key, body: { userId } });

export const balance = (token, userId) =>
  ask('balance', 'GET', '/payment/balance', { token, query: { userId } });

export const reservations = (token, userId) =>
  ask('reservations', 'GET', '/user/reservations', { token, query: { userId } });

/** Sends one request until it has an answer that repeating would not change. */
function ask(step, method, path, { token, key, body, query }) {
  const url = knobs.baseUrl + path + queryString(query);
  const headers = {};
  if (token) headers['Queue-Token'] = token;
  if (key) headers['Idempotency-Key'] = key;
  if (body) headers['Content-Type'] = 'application/json';
  const text = body ? JSON.stringify(body) : null;
  const params = { headers, timeout: REQUEST_TIMEOUT, tags: { name: `${method} ${path}` } };

  const giveUpAt = Date.now() + knobs.retrySeconds * 1000;
  for (;;) {
    const response = http.request(method, url, text, params);
    record(step, response);
    const again = [0, 429, 503].includes(response.status);
    if (!again || Date.now() >= giveUpAt) return answer(response);
    retries.add(1, { step });
    sleep(pauseBeforeRetry(response));
  }
}

function queryString(query) {
  if (!query) return '';
  const pairs = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return `?${pairs.join('&')}`;
}

function record(step, response) {
  if (response.status === 0) {
    connectionErrors.add(1, { step });
    return;
  }
  if (response.status >= 500) server5xx.add(1, { step });
  const { blocked, connecting, duration } = response.timings;
  steps[step].add(blocked + connecting + duration);
}

// As told by the server; with some jitter, because everybody is told the same.
function pauseBeforeRetry(response) {
  const told = Number(response.headers['Retry-After']);
  return (Number.isFinite(told) && told > 0 ? told : 0.2) + 0.8 * Math.random();
}

/** What the journey reads of an answer; `code` names a refusal. */
function answer(response) {
  let json = null;
  try {
    json = response.json();
  } catch (_) {
    // Answers without a body, or none at all.
  }
  const ok = response.status === 200 || response.status === 201;
  const code = ok ? null : (json && json.code) || `status-${response.status}`;
  return { ok, code, status: response.status, json: json || {} };
}
