// A sale opens for 3,000 people, played by k6, and an operator steers it: `scripts/show-opening.sh`.
//
// It fails unless pause stops the line within a second, resume lets people in again, a message comes up
// on the page of somebody who waits, and the dashboard's numbers are those of Redis and PostgreSQL. All
// clocks are one: server, stores, k6 and browser are on this machine.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';

import { startBrowser } from './support/browser.mjs';
import { k6 } from './support/k6.mjs';
import { ROOT, startOnsale, within } from './support/onsale.mjs';
import { shown, signIn } from './support/operators.mjs';
import { picture } from './support/picture.mjs';
import { Stores, age } from './support/stores.mjs';

const FOLDER = process.argv[2];
const [PEOPLE, SECONDS, SEATS, CAPACITY, BATCH] = [3_000, 30, 1_000, 1_000, 40];
const DATE = '2030-12-24';
const CATALOGUE = `
[[concert]]
id = 1
name = "Winter night"
dates = ["${DATE}"]
seats = ${SEATS}
price = 50000
time_zone = "Asia/Seoul"
capacity = ${CAPACITY}
batch = ${BATCH}
`;
/** All in all, after the server has started. */
const ALL_WITHIN_MS = 280_000;
/** k6 makes 3,000 people first, which takes a busy machine a while. */
const STEP_WITHIN_MS = 120_000;
const PAUSED_WITHIN_MS = 1_000;
const PAUSED_FOR_MS = 4_000;
/** Promotions come once a second, and a busy machine may be late for one. */
const RESUMED_WITHIN_MS = 2_500;
const TOLD_WITHIN_MS = 3_000;
/** The dashboard asks once a second, and some of what it is told may be a second old. */
const AGE_MAX_MS = 3_000;
const LOOK_EVERY_MS = 200;
const NUMBERS = ['waiting', 'active', 'held', 'sold'];
const MESSAGE = 'We stand still for a moment, and go on right away.';

const seconds = (ms) => `${(ms / 1_000).toFixed(2)} s`;
const say = (text) => console.log(`  ✓ ${text}`);

async function until(what, condition) {
    await within(STEP_WITHIN_MS, what, (async () => {
        while (!condition()) await pause(20);
    })());
}

/** Clicks, and says when: a moment before the click. */
async function click(page, name) {
    const at = Date.now();
    await page.getByRole('button', { name, exact: true }).click();
    return at;
}

/** Waits until the dashboard says that something is done; else what it said instead is in the error. */
async function told(page, sentence) {
    const place = page.locator('#done');
    await place.filter({ hasText: sentence }).waitFor().catch(async (error) => {
        assert.fail(`the dashboard says ${JSON.stringify(await place.textContent())}: ${error.message}`);
    });
}

/** Looks at the dashboard until it is told to stop. */
function watch(page) {
    const [looks, stopped] = [[], new AbortController()];
    const ended = (async () => {
        while (!stopped.signal.aborted) {
            looks.push(await shown(page, NUMBERS));
            await pause(LOOK_EVERY_MS);
        }
        return looks;
    })();
    return async () => {
        stopped.abort();
        return ended;
    };
}

/** The operator's part, while people arrive. */
async function steer(operator, waiting, stores) {
    await until('a third have come', () => stores.now.issued >= 0.35 * PEOPLE);
    await waiting.page.goto('/');
    await waiting.page.getByRole('button', { name: 'Join the line' }).click();
    await waiting.page.getByRole('heading', { name: 'You are in line' }).waitFor();

    await until('two thirds have come', () => stores.now.issued >= 0.66 * PEOPLE);
    await picture(operator.page, FOLDER, 'dashboard');
    const looked = watch(operator.page);
    const pausedAt = await click(operator.page, 'Pause');
    await told(operator.page, 'Paused.');
    await operator.page.getByLabel('Message to everybody who waits').fill(MESSAGE);
    const saidAt = await click(operator.page, 'Show');
    await waiting.page.getByText(MESSAGE).waitFor();
    const toldAt = Date.now();
    await pause(Math.max(0, pausedAt + PAUSED_FOR_MS - Date.now()));
    await operator.page.getByText('Paused: nobody is let in').waitFor();
    const resumedAt = await click(operator.page, 'Resume');
    await told(operator.page, 'Resumed.');
    await until('people are let in', () => stores.redis.some((row, index) => row.at > resumedAt
        && row.promoted > stores.redis[index - 1].promoted));
    await until('nearly all have come', () => stores.now.issued >= 0.95 * PEOPLE);
    return { looks: await looked(), pausedAt, saidAt, toldAt, resumedAt };
}

function judgePause(stores, { pausedAt, resumedAt }) {
    const rows = stores.redis;
    const promotions = rows.filter((row, index) => index > 0 && row.promoted > rows[index - 1].promoted);
    const last = promotions.findLast((row) => row.at < resumedAt);
    const first = promotions.find((row) => row.at >= resumedAt);
    const stopped = last.at - pausedAt;
    assert.ok(stopped <= PAUSED_WITHIN_MS, `the last was let in ${seconds(stopped)} after the pause`);
    const still = rows.filter((row) => row.at > pausedAt + PAUSED_WITHIN_MS && row.at < resumedAt);
    assert.ok(still.length >= 20, `${still.length} looks at the pause`);
    // Nothing else holds them up.
    assert.ok(still.every((row) => row.waiting > 0 && row.active + BATCH <= CAPACITY && row.sold < SEATS));
    const line = stores.ask('--json', 'xrange', '{c1}:series', String(pausedAt + PAUSED_WITHIN_MS), String(resumedAt));
    const written = JSON.parse(line).map(([, fields]) => fields[fields.indexOf('promoted') + 1]);
    assert.ok(written.length >= 2 && new Set(written).size === 1, `promoted in the series: ${written}`);
    const when = stopped > 0 ? `${seconds(stopped)} after` : `${seconds(-stopped)} before`;
    say(`pause: the last was let in ${when} the click; for ${seconds(resumedAt - pausedAt)} nobody was, `
        + `with ${still.at(-1).waiting} in line and room for ${CAPACITY - still.at(-1).active}`);
    const went = first.at - resumedAt;
    assert.ok(went <= RESUMED_WITHIN_MS, `the first was let in ${seconds(went)} after the click`);
    say(`resume: the first was let in ${seconds(went)} after the click`);
}

function judgeNumbers(stores, { looks }) {
    assert.ok(looks.length >= 20, `${looks.length} looks at the dashboard`);
    const ages = looks.flatMap((look) => [
        ...NUMBERS.map((name) => ({ look, name, ms: age(stores.redis, name, look[name], look.at) })),
        { look, name: 'sold', ms: age(stores.postgres, 'sold', look.sold, look.at) },
    ]).sort((one, other) => one.ms - other.ms);
    const oldest = ages.at(-1);
    assert.ok(oldest.ms <= AGE_MAX_MS, `no store said so within ${seconds(AGE_MAX_MS)}: ${JSON.stringify(oldest)}`);
    const half = ages[Math.floor(ages.length / 2)];
    const most = looks.reduce((one, other) => Math.max(one, other.waiting), 0);
    say(`numbers under load: in ${looks.length} looks, with up to ${most} in line, every one was in Redis or PostgreSQL `
        + `at most ${seconds(oldest.ms)} before (median ${seconds(half.ms)})`);
}

/** When all is over, nothing moves, and everything is the same to the last digit. */
async function judgeEnd(page, stores) {
    const same = async () => {
        const [look, row, sold] = [await shown(page, NUMBERS), stores.now, stores.postgres.at(-1).sold];
        return NUMBERS.every((name) => look[name] === row[name]) && sold === look.sold ? look : null;
    };
    let look = null;
    await within(20_000, 'the dashboard says what the stores say', (async () => {
        while (!look) [look] = [await same(), await pause(100)];
    })());
    assert.ok(look.sold > 0);
    say(`numbers in the end: ${NUMBERS.map((name) => `${look[name]} ${name}`).join(', ')}, the same everywhere`);
}

async function show(onsale, browser) {
    const operator = await browser.visitor(onsale.url, { viewport: { width: 1440, height: 1180 } });
    const waiting = await browser.visitor(onsale.url);
    await signIn(operator.page);
    await operator.page.getByLabel('Show').selectOption('1 minute');
    const stores = new Stores(onsale, [DATE]);
    await until('the stores answer', () => stores.now && stores.postgres.length > 0);
    const results = `${onsale.folder}/results`;
    execFileSync('mkdir', [results]);
    // Nothing is measured of k6's times: a browser shares the cores.
    const settings = {
        BASE_URL: onsale.url, ARRIVALS: PEOPLE, SECONDS, SEATS, DATES: DATE, P99_MS: 10_000, REPORT_DIR: results, GOGC: '300',
    };
    const load = k6('loadtest/ticket_open.js', { settings });
    console.log(`${PEOPLE} people come within ${SECONDS} s for ${SEATS} seats; ${BATCH} a second are let in`);
    const steered = await Promise.race([
        steer(operator, waiting, stores),
        load.then(({ said }) => assert.fail(`k6 ended before the operator had done it all:\n${said}`)),
    ]);
    judgePause(stores, steered);
    const told = steered.toldAt - steered.saidAt;
    assert.ok(told <= TOLD_WITHIN_MS, `the message was ${seconds(told)} on its way`);
    say(`message: on the page of who waits ${seconds(told)} after the click`);
    judgeNumbers(stores, steered);
    await waiting.page.close();

    const { code, said } = await load;
    assert.equal(code, 0, said);
    await judgeEnd(operator.page, stores);
    stores.stop();
    const check = ['all', stores.data, `${results}/numbers`, String(CAPACITY), '1'];
    execFileSync('loadtest/check-stores.sh', check, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
    say(`the sale: ${/^PASSED: (.*)$/m.exec(said)[1]}; both stores agree with what people were told`);
}

const onsale = await startOnsale({ catalogue: CATALOGUE });
const browser = await startBrowser();
await within(ALL_WITHIN_MS, 'the whole show', show(onsale, browser));
await browser.close();
await onsale.stop();
process.exit(0);
