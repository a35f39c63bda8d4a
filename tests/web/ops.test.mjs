// The operators' dashboard in a real Chromium, against what the stores themselves say.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { ADMIN_TOKEN } from './support/onsale.mjs';
import { enter, shown, signIn } from './support/operators.mjs';
import { stage } from './support/stage.mjs';

const CATALOGUE = `
[[concert]]
id = 1
name = "Winter night"
dates = ["2030-12-24", "2030-12-25"]
seats = 20
price = 100
time_zone = "Asia/Seoul"
capacity = 4

[[concert]]
id = 2
name = "Spring tour"
dates = ["2031-04-20"]
seats = 20
price = 100
time_zone = "Asia/Seoul"
opens_at = "2031-01-01T20:00:00+09:00"
prequeue = "lottery"
beacon_round = "drand quicknet 30000000"
`;
const PEOPLE = 30;
/** Up to the deadline of a seat that is withheld. */
const NEVER = '(253402300799999';

let operator;

const settings = { ONSALE_BATCH: '2', ONSALE_CLAIM_TTL: '10m', ONSALE_HOLD_TTL: '10m' };
const here = stage({ settings, catalogue: CATALOGUE }, async ({ visitor }) => {
    operator = await visitor();
});

async function api(path, { body, token, method = body ? 'POST' : 'GET' } = {}) {
    const headers = { ...(token && { 'Queue-Token': token }), ...(body && { 'Content-Type': 'application/json' }) };
    const answer = await fetch(here.onsale.url + path, { method, headers, body: body && JSON.stringify(body) });
    return { status: answer.status, said: await answer.json() };
}

async function eventually(what, condition, ms = 20_000) {
    const deadline = Date.now() + ms;
    let seen;
    while (Date.now() < deadline) {
        seen = await condition();
        if (seen === true) return;
        await new Promise((done) => setTimeout(done, 100));
    }
    assert.fail(`not within ${ms} ms: ${what}; last seen: ${JSON.stringify(seen)}`);
}

const redis = (...words) => execFileSync('redis-cli', ['-s', here.onsale.redisSocket, ...words], { encoding: 'utf8' }).trim();
const number = (...words) => Number(redis(...words));
const promoted = () => number('hget', '{c1}:stats', 'promoted');

function soldInPostgres() {
    const pid = join(here.onsale.folder, 'data/postgres/data/postmaster.pid');
    assert.ok(existsSync(pid), pid);
    const sockets = readFileSync(pid, 'utf8').split('\n')[4];
    const statement = 'select count(*) from owned_seats';
    const words = ['-h', sockets, '-U', 'onsale', '-d', 'onsale', '-tAc', statement];
    return Number(execFileSync('psql', words, { encoding: 'utf8' }).trim());
}

/** What the stores say, in the words of the dashboard. */
function truth() {
    const now = `(${redis('time').split('\n')[0]}000`;
    const ofDates = (read) => ['2030-12-24', '2030-12-25'].map(read).reduce((one, other) => one + other);
    const sold = ofDates((date) => number('bitcount', `{c1}:sold:${date}`));
    assert.equal(sold, soldInPostgres(), 'Redis and PostgreSQL');
    return {
        waiting: number('zcard', '{c1}:waiting'),
        active: number('zcount', '{c1}:active', now, '+inf'),
        held: ofDates((date) => number('zcount', `{c1}:held:${date}`, now, NEVER)),
        sold,
    };
}

/** Answers the question that a dialog asks. */
async function decide(question, answer) {
    const dialog = operator.page.getByRole('dialog');
    await dialog.getByText(question).waitFor();
    await dialog.getByRole('button', { name: answer, exact: true }).click();
    await dialog.waitFor({ state: 'detached' });
}

/** A place in line that somebody has by now. */
async function place(userId, concertId = 1) {
    let said;
    // What operators change reaches arrivals with the next board.
    await eventually('a place is given', async () => {
        ({ said } = await api('/user/token', { body: { concertId, userId } }));
        return 'token' in said || said;
    }, 2_000);
    return said.token;
}

test('a wrong token is refused and kept nowhere', async () => {
    const { page } = operator;
    await page.goto('/ops');
    assert.ok(await page.locator('#board').isHidden());
    await page.getByLabel("Operators' token").fill('not-the-token');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('This is not the token of this server.').waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 0);
    assert.ok(await page.locator('#board').isHidden());
});

test('the token opens the dashboard, also after a reload, and until one signs out', async () => {
    const { page } = operator;
    await enter(page);
    await page.reload();
    await page.getByText(/^Live, server/).waitFor();
    assert.equal(await page.locator('#seats').textContent(), '40');
    await page.getByRole('button', { name: 'Sign out' }).click();
    assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 0);
    await enter(page);
});

test('its numbers are those of Redis and PostgreSQL', async () => {
    const tokens = [];
    for (let user = 1; user <= PEOPLE; user += 1) {
        const { status, said } = await api('/user/token', { body: { concertId: 1, userId: user } });
        assert.equal(status, 201);
        tokens.push(said.token);
    }
    await eventually('four are inside', async () => number('zcard', '{c1}:active') === 4 || number('zcard', '{c1}:active'));
    for (const [index, seat] of [[0, 1], [1, 2], [2, 3]]) {
        const body = { userId: index + 1, concertDate: '2030-12-24', seatNumber: seat };
        assert.equal((await api('/concert/reserve', { body, token: tokens[index] })).status, 201);
    }
    const taken = { userId: 4, concertDate: '2030-12-24', seatNumber: 1 };
    assert.equal((await api('/concert/reserve', { body: taken, token: tokens[3] })).status, 409);
    await api('/payment/charge', { body: { userId: 1, amount: 1000 }, token: tokens[0] });
    assert.equal((await api('/payment', { body: { userId: 1 }, token: tokens[0] })).status, 200);
    for (let poll = 0; poll < 5; poll += 1) await api('/user/token/status', { token: tokens[20] });

    const ids = ['waiting', 'active', 'held', 'sold'];
    await eventually('the dashboard says what the stores say', async () => {
        const [wanted, seen] = [truth(), await shown(operator.page, ids)];
        const isSame = ids.every((id) => wanted[id] === seen[id]);
        return (isSame && seen.sold === 1 && seen.held === 2 && seen.active === 4) || { wanted, seen };
    });
    const { page } = operator;
    await page.getByRole('row', { name: /^seat-taken/ }).waitFor();
    await page.getByRole('row', { name: /^POST \/concert\/reserve/ }).waitFor();
    assert.equal(await page.locator('#servers').textContent(), '1');
    assert.equal(await page.locator('#faults li').count(), 0);
    const line = await page.getByRole('img', { name: /^Line: waiting/ }).getAttribute('aria-label');
    assert.match(line, /^Line: waiting \d+, active \d+; highest \d+$/);
});

test('somebody is looked up by number and by token, and a hold is taken away when that is confirmed', async () => {
    const { page } = operator;
    const look = async (whom) => {
        await page.getByLabel('Number of a user, or a token').fill(whom);
        await page.getByRole('button', { name: 'Look up' }).click();
    };
    const fact = (name) => page.locator('#person dt', { hasText: name }).locator('+ dd');
    await look('1');
    await page.getByText('User 1, concert 1.').waitFor();
    assert.match(await fact('Owns').textContent(), /^2030-12-24, seat 1, of concert 1, paid \d+ \w+ 2\d{3}/);
    assert.equal(await fact('Balance').textContent(), '900');
    assert.equal(await fact('Line').textContent(), 'has no place here');
    await look(await place(20));
    await page.getByText('User 20, concert 1.').waitFor();
    assert.match(await fact('Line').textContent(), /^waits at position \d+, for about/);
    await look('00000436-4cbb-861a-b87e-77835403a804_1');
    await page.getByText(/^Not done: /).waitFor();
    assert.ok(await page.locator('#board').isVisible(), 'nobody is signed out by somebody else\'s token');

    await look('2');
    await fact('Line').getByText(/^is inside until \d+ \w+ 2\d{3}/).waitFor();
    const held = () => redis('zscore', '{c1}:held:2030-12-24', '2');
    assert.match(held(), /^\d+$/);
    await page.getByRole('button', { name: 'Release seat 2' }).click();
    await page.getByRole('dialog').getByText('Whoever holds them loses').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('User 2, concert 1.').waitFor();
    assert.match(held(), /^\d+$/, 'Escape means no');
    await page.getByRole('button', { name: 'Release seat 2' }).click();
    await decide('Whoever holds them loses these seats of 2030-12-24: 2.', 'Take them away');
    await page.getByText('Free again: 2.').waitFor();
    assert.equal(held(), '');
    assert.equal(await fact('Holds').textContent(), 'none');
});

test('holds are taken away, and seats withheld from the sale and put on sale again', async () => {
    const { page } = operator;
    const seats = page.locator('#seat-numbers');
    const press = (name) => page.getByRole('button', { name, exact: true }).click();
    await page.getByLabel('Date').selectOption('2030-12-24');
    for (const wrong of ['1,,2', '5-3', 'all', '1-201']) {
        await seats.fill(wrong);
        await press('Withhold from sale');
        await page.getByText(wrong === '1-201' ? 'Not done: at most 200 seats at once.' : 'Not done: seats are written like 12, 20-25.').waitFor();
    }
    await seats.fill('3');
    await press('Release holds');
    await decide('2030-12-24: 3.', 'Take them away');
    await page.getByText('Free again: 3.').waitFor();
    assert.equal(redis('zscore', '{c1}:held:2030-12-24', '3'), '');

    await seats.fill('10, 12-13');
    await press('Withhold from sale');
    await page.getByText('Withheld: 10, 12-13.').waitFor();
    await page.getByText('Withheld: 2030-12-24: 10, 12-13').waitFor();
    await eventually('they are in the figures', async () => (await shown(page, ['withheld'])).withheld === 3);
    const token = await place(4);
    const taken = await api('/concert/reserve', { body: { userId: 4, concertDate: '2030-12-24', seatNumber: 12 }, token });
    assert.equal(taken.status, 409);
    await seats.fill('12');
    await press('Put on sale again');
    await page.getByText('Withheld: 2030-12-24: 10, 13').waitFor();
    const free = await api('/concert/reserve', { body: { userId: 4, concertDate: '2030-12-24', seatNumber: 12 }, token });
    assert.equal(free.status, 201);
    await seats.fill('10, 13');
    await press('Put on sale again');
    await page.getByText('Withheld: none').waitFor();
});

test('the rows of the last hour are those in Redis', async () => {
    const { fields, rows } = await operator.page.evaluate(async (token) => {
        const answer = await fetch('admin/series?concertId=1', { headers: { Authorization: `Bearer ${token}` } });
        return answer.json();
    }, ADMIN_TOKEN);
    const inRedis = JSON.parse(redis('--json', 'xrange', '{c1}:series', '-', '+', 'count', '5'));
    assert.ok(rows.length >= 5);
    inRedis.forEach(([id, values], index) => {
        const pairs = Object.fromEntries(values.map((_, n) => [values[n], values[n + 1]]).filter((_, n) => n % 2 === 0));
        assert.equal(`${rows[index][0]}-0`, id);
        fields.slice(1).forEach((field, n) => {
            assert.equal(String(rows[index][n + 1] ?? ''), pairs[field], field);
        });
    });
});

test('pause stops promotions within a second, and resume lets people in again', async () => {
    const { page } = operator;
    await here.onsale.admin({ concertId: 1, capacity: 1000, batch: 2 });
    await eventually('people are let in', async () => promoted() >= 8 || promoted());
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByText('Paused.', { exact: true }).waitFor();
    const asked = promoted();
    await new Promise((done) => setTimeout(done, 1_000));
    const paused = promoted();
    assert.ok(paused - asked <= 2, `${paused - asked} in the second after the pause`);
    await new Promise((done) => setTimeout(done, 2_500));
    assert.equal(promoted(), paused, 'nobody is let in');
    assert.ok(number('zcard', '{c1}:waiting') > 0, 'and somebody waits');
    await page.getByText('Paused: nobody is let in').waitFor();
    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByText('Resumed.', { exact: true }).waitFor();
    await eventually('people are let in', async () => promoted() > paused || promoted());
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByText('Paused.', { exact: true }).waitFor();
});

test('a message reaches who waits, and capacity and batch are set and given back', async () => {
    const { page } = operator;
    const { said } = await api('/user/token', { body: { concertId: 1, userId: 1000 } });
    await page.getByLabel('Message to everybody who waits').fill('We go on at 20:15 <b>.');
    await page.getByRole('button', { name: 'Show' }).click();
    await page.getByText('The message is shown.').waitFor();
    await eventually('who waits is told', async () => {
        const { said: status } = await api('/user/token/status', { token: said.token });
        return status.message === 'We go on at 20:15 <b>.' || status;
    }, 2_000);
    assert.equal(await page.locator('#message').textContent(), 'We go on at 20:15 <b>.');
    await page.getByRole('button', { name: 'Take away' }).click();
    await page.getByText('The message is gone.').waitFor();
    assert.equal(redis('hexists', '{c1}:settings', 'message'), '0');

    for (const [label, setting, value] of [['Capacity', 'capacity', '7'], ['Batch per second', 'batch', '3']]) {
        const form = page.locator(`#set-${setting}`);
        await page.getByLabel(label).fill(value);
        await form.getByRole('button', { name: 'Set' }).click();
        await page.getByText(`${setting} is ${value}.`).waitFor();
        assert.equal(redis('hget', '{c1}:settings', setting), value);
        await form.getByRole('button', { name: 'As configured' }).click();
        await page.getByText(`${setting} is as configured.`).waitFor();
        assert.equal(redis('hexists', '{c1}:settings', setting), '0');
    }
    await page.getByRole('button', { name: 'Close now' }).click();
    await page.getByText('Closed.', { exact: true }).waitFor();
    await page.getByText(/^Closes \d+ \w+ \d{4}/).waitFor();
    const late = await api('/user/token', { body: { concertId: 1, userId: 2000 } });
    assert.deepEqual([late.status, late.said.code], [409, 'closed']);
    await page.locator('[data-remove="closesAt"]').click();
    await page.getByText('Never closes.').waitFor();
    await page.getByText('Changes', { exact: true }).click();
    await page.getByText(/batch: 3 → as configured/).first().waitFor();
});

test('the line is cleared when that is confirmed, and not before', async () => {
    const { page } = operator;
    const token = await place(3000);
    const waiting = () => number('zcard', '{c1}:waiting');
    const before = waiting();
    assert.ok(before > 0, 'the line is paused');
    await page.getByRole('button', { name: 'Clear the line' }).click();
    await decide('Everybody who waits loses the place', 'Keep the line');
    assert.equal(waiting(), before);
    await page.getByRole('button', { name: 'Clear the line' }).click();
    await decide('Everybody who waits loses the place', 'Send everybody away');
    await page.getByText(`The line is cleared: ${before} people were sent away.`).waitFor();
    assert.equal(waiting(), 0);
    await eventually('who waited is told', async () => {
        const { said } = await api('/user/token/status', { token });
        return said.code === 'token-expired' || said;
    }, 2_000);
    await eventually('the dashboard says so', async () => (await shown(page, ['waiting'])).waiting === 0);
});

test('a lottery that waits for a beacon gets its value, and nobody is asked for one otherwise', async () => {
    const { page } = operator;
    const value = page.getByLabel('Value of drand quicknet 30000000, for which the draw waits');
    assert.ok(await value.isHidden());
    await page.getByLabel('Concert').selectOption('2 Spring tour');
    await page.getByText(/^Opens 1 Jan 2031/).waitFor();
    await place(5, 2);
    assert.ok(await value.isHidden(), 'the sale is not open');
    await page.getByRole('button', { name: 'Open now' }).click();
    await decide('The sale opens now', 'Not yet');
    assert.equal(redis('hexists', '{c2}:settings', 'opens_at'), '0');
    await page.getByRole('button', { name: 'Open now' }).click();
    await decide('The sale opens now', 'Open the sale');
    await value.waitFor();
    assert.equal(number('zcard', '{c2}:active'), 0);
    await value.fill('00112233445566778899aabbccddeeff');
    await page.getByRole('button', { name: 'Make the order' }).click();
    await decide('must be that of drand quicknet 30000000', 'Make the order');
    await page.getByText('The order is made with this value.').waitFor();
    await eventually('the winner is let in', async () => number('zcard', '{c2}:active') === 1);
    assert.equal(redis('hget', '{c2}:draw', 'value'), '00112233445566778899aabbccddeeff');
    await value.waitFor({ state: 'hidden' });
    await page.getByLabel('Concert').selectOption('1 Winter night');
});

test('it fits on a phone, in the dark, and every control has a name', async () => {
    const options = { viewport: { width: 360, height: 740 }, colorScheme: 'dark', isMobile: true, hasTouch: true };
    const { page } = await here.visitor(options);
    await signIn(page);
    const look = await page.evaluate(() => {
        const named = (control) => control.labels?.length > 0 || control.textContent.trim() !== '';
        return {
            wide: document.documentElement.scrollWidth > innerWidth,
            back: getComputedStyle(document.body).backgroundColor,
            nameless: [...document.querySelectorAll('button, input, select')].filter((one) => !named(one)).length,
            nameless_images: [...document.querySelectorAll('[role=img]')].filter((one) => !one.getAttribute('aria-label')).length,
            small: [...document.querySelectorAll('button, input, select')]
                .filter((one) => one.offsetHeight > 0 && one.offsetHeight < 44).length,
        };
    });
    assert.deepEqual(look, { wide: false, back: 'rgb(20, 23, 26)', nameless: 0, nameless_images: 0, small: 0 });
});

test('rates, waits and quantiles are what they are called', async () => {
    const got = await operator.page.evaluate(async () => {
        const { Series, duration, quantile, since } = await import(new URL('ops-figures.js', location.href).href);
        const series = new Series();
        const fields = ['at', 'last', 'head', 'estimate', 'issued'];
        // Number n comes in second n and is served three seconds later.
        const rows = [...Array(10).keys()].map((n) => [
            1_000_000 + n * 1000, 100 + n, n < 3 ? null : 100 + n - 3, n < 3 ? 1 : 4, n * 20,
        ]);
        series.add({ fields, rows: rows.slice(0, 6) });
        series.add({ fields, rows: rows.slice(4) });
        const counts = [0, 50, 49, 1];
        return {
            rows: series.rows.length,
            rate: series.rates('issued').at(-1)[1],
            first: series.rates('issued')[0][1],
            wait: series.waits().at(-1),
            unknown: series.waits()[1],
            p50: quantile(0.5, counts, [1, 2, 4]),
            p99: quantile(0.99, counts, [1, 2, 4]),
            none: quantile(0.5, [0, 0], [1]),
            fresh: since([3, 4], [1, 4]),
            texts: [0.00085, 0.012, 3.41, 720, 86_400, null].map(duration),
        };
    });
    assert.deepEqual(got, {
        rows: 10,
        rate: 20,
        first: null,
        wait: { at: 1_009_000, waited: 3, told: 4 },
        unknown: { at: 1_001_000, waited: null, told: null },
        p50: 2,
        p99: 4,
        none: null,
        fresh: [2, 0],
        texts: ['850 µs', '12 ms', '3.4 s', '12 min', 'not known', '–'],
    });
});
