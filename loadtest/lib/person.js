// One person's visit, from arriving to owning a seat, or to whichever other end it comes.
//
// Who does what (leaves, pays twice, comes with too little money, ...) follows from SEED and the
// person's number alone; only the pauses before retries differ between two runs with one seed.

import { check, sleep } from 'k6';

import * as api from './client.js';
import { knobs } from './knobs.js';
import * as metrics from './metrics.js';

// Parts of a thousand. The first three end the visit early and exclude each other.
const HABITS = { quits: 30, vanishes: 15, letsGo: 200, reloads: 50, anonymous: 100 };
const BUYER_HABITS = { poorFirst: 300, overcharges: 300, chargesTwice: 200, paysTwice: 300, sendsKey: 500 };

// Only among the first comers, so that somebody is still there to take what they give back.
const LETS_GO_UNTIL = 0.6;

/** Lives through the visit of person `number`; every visit ends in exactly one of `ENDS`. */
export function visit(number, userIdBase) {
  const person = newPerson(number, userIdBase);
  metrics.unfinished.add(1);
  const end = journey(person);
  metrics.unfinished.add(-1);
  metrics.ends.add(1, { end });
}

function newPerson(number, userIdBase) {
  const random = generator(knobs.seed * 1_000_003 + number);
  const dice = random() * 1000;
  const has = (part) => random() * 1000 < part;
  const early = number < knobs.arrivals * LETS_GO_UNTIL;
  const person = {
    userId: userIdBase + number + 1,
    random,
    quits: dice < HABITS.quits,
    vanishes: dice >= HABITS.quits && dice < HABITS.quits + HABITS.vanishes,
    letsGo: early && dice >= 1000 - HABITS.letsGo,
    reloads: has(HABITS.reloads),
    anonymous: has(HABITS.anonymous),
    token: null,
    charged: 0,
    paid: 0,
    seats: [],
  };
  for (const [habit, part] of Object.entries(BUYER_HABITS)) person[habit] = has(part);
  return person;
}

function journey(person) {
  const standing = arrive(person);
  if (standing.end) return standing.end;
  const waitEnd = waitForTurn(person, standing);
  if (waitEnd) return waitEnd;

  const end = shop(person);
  // Without an answer nobody can know what is true, and the run has failed already.
  if (end !== 'unanswered' && end !== 'expired') audit(person);
  if (end === 'owner') checkTokenIsSpent(person);
  else leave(person);
  return end;
}

// ---- in line ----

function arrive(person) {
  const first = api.join(person.anonymous ? null : person.userId);
  metrics.answered.add(first.ok || first.code === 'sold-out');
  if (!first.ok) return { end: endOf(first) };
  person.token = first.json.token;
  check(first, {
    'an arrival is told its token, position and wait': ({ json }) =>
      /^[0-9a-f-]{36}_[0-9]+$/.test(json.token) &&
      Number.isInteger(json.queuePosition) &&
      Number.isInteger(json.estimatedWaitTime),
  });
  if (person.reloads && !person.anonymous) reload(person, first.json);
  return first.json;
}

function reload(person, first) {
  const second = api.join(person.userId);
  if (second.code === 'sold-out') return;
  const id = (token) => String(token).split('_')[0];
  check(second, {
    'who arrives twice keeps the place': ({ status, json }) =>
      status === 200 && id(json.token) === id(first.token) && json.queuePosition <= first.queuePosition,
  });
}

/** Polls as told until it is this person's turn; answers how the visit ended if it did. */
function waitForTurn(person, first) {
  const cameAt = Date.now();
  let standing = first;
  for (let polled = 0; standing.status !== 'active'; polled += 1) {
    if (standing.status === 'sold-out' && standing.heldSeats === 0) return 'sold_out';
    if (person.vanishes && polled >= 1) return 'no_show';
    if (person.quits && polled >= 2) return leave(person) && 'quit';
    if (Date.now() - cameAt > knobs.patienceSeconds * 1000) return leave(person) && 'impatient';

    sleep(standing.pollAfter);
    const answer = api.status(person.token);
    metrics.polls.add(1);
    if (!answer.ok) return endOf(answer);
    const before = standing.queuePosition;
    check(answer, { 'a position never grows': ({ json }) => json.queuePosition <= before });
    standing = answer.json;
  }
  recordWait((Date.now() - cameAt) / 1000, first.estimatedWaitTime);
  return null;
}

function recordWait(seconds, estimate) {
  metrics.waited.add(seconds);
  metrics.estimated.add(estimate);
  // An estimate is in whole seconds, and a turn is noticed at the next poll.
  metrics.estimateGood.add(Math.abs(seconds - estimate) <= Math.max(0.2 * seconds, 2));
}

function leave(person) {
  const answer = api.leave(person.token);
  // The second copy of a request whose first answer was lost finds nobody in line.
  return check(answer, { 'leaving works': ({ ok, code }) => ok || code === 'token-expired' }) || true;
}

// ---- inside ----

function shop(person) {
  for (let look = 0; look < knobs.looks; look += 1) {
    const found = findSeats(person);
    if (found.end) return found.end;
    if (found.seats) {
      think(person, 0.2, 1.5);
      const answer = api.reserve(person.token, person.userId, found.date, found.seats);
      if (answer.ok) return person.letsGo ? giveBack(person, answer) : buy(person, found, answer);
      if (!['seat-taken', 'seat-sold'].includes(answer.code)) return endOf(answer);
      metrics.seatConflicts.add(1);
    }
    think(person, 0.5, 1.5);
  }
  return 'no_seat';
}

/** A date with free seats and as many of them as this person wants, chosen at random. */
function findSeats(person) {
  const dates = api.dates(person.token);
  if (!dates.ok) return { end: endOf(dates) };
  const open = dates.json.availableDates;
  if (open.length === 0) return {};
  const date = pick(person, open);

  const list = api.seats(person.token, date);
  if (!list.ok) return { end: endOf(list) };
  const free = list.json.availableSeats;
  check(free, {
    'free seats are listed in ascending order': (all) => all.every((seat, i) => i === 0 || all[i - 1] < seat),
  });
  if (free.length < knobs.seatsPerUser) return {};
  const seats = new Set();
  while (seats.size < knobs.seatsPerUser) seats.add(pick(person, free));
  return { date, seats: [...seats] };
}

const heldSeats = (hold) => hold.seats || [hold];
const total = (seats) => seats.reduce((sum, { price, amount }) => sum + (price ?? amount), 0);

function giveBack(person, answer) {
  think(person, 1, 2);
  for (const { reservationId } of heldSeats(answer.json)) {
    const released = api.release(person.token, person.userId, reservationId);
    check(released, { 'a hold can be given back': ({ ok, code }) => ok || code === 'unknown-reservation' });
  }
  return 'let_go';
}

function buy(person, found, answer) {
  const held = heldSeats(answer.json);
  const price = total(held);
  check(answer, {
    'a hold says what, how much and until when': ({ json }) =>
      json.status === 'reserved' &&
      json.concertDate === found.date &&
      held.length === found.seats.length &&
      price > 0 &&
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/.test(json.expireAt),
  });
  think(person, 0.5, 2);
  if (person.poorFirst) payWithoutMoney(person, price);
  const chargeEnd = charge(person, price);
  if (chargeEnd) return chargeEnd;
  think(person, 0.3, 1);
  return pay(person, held, price);
}

function payWithoutMoney(person, price) {
  const answer = api.pay(person.token, person.userId, null);
  check(answer, {
    'who has too little money is told how much is needed': ({ status, code, json }) =>
      status === 402 && code === 'insufficient-balance' && json.required === price && json.balance === 0,
  });
}

function charge(person, price) {
  const amount = person.overcharges ? price + 10_000 : price;
  const key = `charge-${person.userId}`;
  const answer = api.charge(person.token, person.userId, amount, key);
  if (!answer.ok) return endOf(answer);
  person.charged = amount;
  check(answer, { 'a charge answers the new balance': ({ json }) => json.balance === amount });
  if (person.chargesTwice) {
    const again = api.charge(person.token, person.userId, amount, key);
    check(again, { 'a charge repeated with its key counts once': ({ ok, json }) => ok && json.balance === amount });
  }
  return null;
}

function pay(person, held, price) {
  const key = person.sendsKey ? `pay-${person.userId}` : null;
  const answer = api.pay(person.token, person.userId, key);
  if (['hold-expired', 'nothing-to-pay', 'seat-sold'].includes(answer.code)) return 'hold_lost';
  if (!answer.ok) return endOf(answer);

  const ids = (seats) => seats.map(({ reservationId }) => reservationId).sort().join();
  const { payments } = answer.json;
  person.paid = price;
  person.seats = payments;
  check(answer, {
    'a payment answers the held seats at their price': ({ json }) =>
      json.status === 'completed' && ids(payments) === ids(held) && total(payments) === price,
    'a payment takes its price from the balance': ({ json }) => json.balance === person.charged - price,
  });
  if (person.paysTwice) {
    const again = api.pay(person.token, person.userId, key);
    check(again, {
      'a payment repeated is the same payment': ({ ok, json }) =>
        ok && json.payments[0].paymentId === payments[0].paymentId && ids(json.payments) === ids(payments),
    });
  }
  return 'owner';
}

// ---- what is true in the end ----

/** Reads back what this person owns and has, and compares it with what this person was told. */
function audit(person) {
  const mine = api.reservations(person.token, person.userId);
  const money = api.balance(person.token, person.userId);
  if (!check({ mine, money }, { 'what one owns and has can be read': () => mine.ok && money.ok })) return;

  const names = (seats) => seats.map((seat) => metrics.seatTag(seat.concertDate, seat.seatNumber)).sort();
  const owned = names(mine.json.owned);
  check(person, {
    'everybody owns what they paid for, and nothing else': ({ seats }) => owned.join() === names(seats).join(),
    'nobody owns more seats than they asked for': () => owned.length <= knobs.seatsPerUser,
    'no hold is left over': () => mine.json.holds.length === 0,
    'balance = charged - paid': ({ charged, paid }) => money.json.balance === charged - paid,
  });

  metrics.seatsOwned.add(owned.length);
  metrics.seatGap.add(-owned.length);
  if (metrics.seatsAreCounted) {
    for (const seat of owned) metrics.seatOwners.add(1, { seat });
  }
  metrics.wonCharged.add(person.charged);
  metrics.wonPaid.add(person.paid);
  metrics.wonLeft.add(money.json.balance);
  metrics.wonGap.add(person.charged - person.paid - money.json.balance);
}

function checkTokenIsSpent(person) {
  check(api.dates(person.token), {
    'a token that bought lets nobody in again': ({ code }) => code === 'token-expired',
  });
}

// ---- helpers ----

/** The end that an unexpected refusal means. */
function endOf({ status, code, json }) {
  if (code === 'sold-out') return 'sold_out';
  if (code === 'token-expired') return 'expired';
  if ([0, 429, 503].includes(status)) return 'unanswered';
  console.error(`unexpected answer: ${status} ${JSON.stringify(json)}`);
  return 'refused';
}

const think = ({ random }, from, to) => sleep(knobs.think * (from + (to - from) * random()));

const pick = ({ random }, items) => items[Math.floor(random() * items.length)];

/** mulberry32: small, seeded, good enough to deal out habits. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
