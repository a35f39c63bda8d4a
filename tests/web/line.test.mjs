// Waiting, and what goes wrong on the way: reload, sleep, a lapsed hold or turn, a sold-out concert,
// a server that is away.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hold, join, pay, reload, seat, turn } from './support/journey.mjs';
import { stage } from './support/stage.mjs';

const MINUTE = { timeout: 60_000 };
const SETTINGS = {
    ONSALE_HOLD_TTL: '8s', ONSALE_HOLD_GRACE: '2s', ONSALE_PAYMENT_DEADLINE: '500ms', ONSALE_PAYMENT_EXTENSION: '1s',
    ONSALE_CLAIM_TTL: '5s', ONSALE_ACTIVE_TTL: '15s', ONSALE_SESSION_MAX: '60s',
};
const concert = (id, name, seats) => `
    [[concert]]
    id = ${id}
    name = "${name}"
    dates = ["2030-12-24"]
    seats = ${seats}
    price = 50000
    time_zone = "Asia/Seoul"
`;

const catalogue = [
    concert(1, 'Winter night', 50), concert(2, 'Full house', 1), concert(3, 'Slow line', 50),
    concert(4, 'Short turn', 50),
    concert(5, 'Opens later', 50),
].join('');
const here = stage({ settings: SETTINGS, catalogue });

test('a place in line survives a reload and a closed tab, and the organisers are heard', MINUTE, async () => {
    await here.onsale.admin({ concertId: 3, paused: true });
    const { page, context } = await here.visitor();
    await join(page, 'Slow line');
    const waits = (where) => where.getByRole('heading', { name: 'You are in line' }).waitFor();
    const position = (where) => where.locator('.position').textContent();
    await waits(page);
    assert.equal(await position(page), '1');
    await page.getByText('You are next.').waitFor();
    await page.getByText('The line stands still right now').waitFor();
    // Somebody comes later, and stands behind.
    const later = await here.visitor();
    await join(later.page, 'Slow line');
    await waits(later.page);
    assert.equal(await position(later.page), '2');
    await later.page.getByText('1 person is before you.').waitFor();

    await reload(page);
    await waits(page);
    assert.equal(await position(page), '1');
    await page.close();
    const again = await context.newPage();
    await again.goto('/');
    await again.getByText('You have a place here').waitFor();
    await again.getByRole('link', { name: 'Slow line' }).click();
    await waits(again);
    assert.equal(await position(again), '1');

    await here.onsale.admin({ concertId: 3, message: 'We go on at 20:15. <b>Thank you</b>' });
    await again.getByText('We go on at 20:15. <b>Thank you</b>').waitFor();
    await here.onsale.admin({ concertId: 3, paused: false, message: null });
    await turn(again);
    await turn(later.page);
});

test('who comes before the opening is in, sees the time left, and is let in by itself', MINUTE, async () => {
    await here.onsale.admin({ concertId: 5, opensAt: new Date(Date.now() + 3_600_000).toISOString() });
    const { page } = await here.visitor();
    await join(page, 'Opens later');
    await page.getByRole('heading', { name: 'You are early' }).waitFor();
    await page.getByText(/^59:\d\d$/).waitFor();
    await page.getByText('1 person has come so far.').waitFor();
    await here.onsale.admin({ concertId: 5, opensAt: 'now' });
    await turn(page);
});

test('who leaves the line is asked first, and is out of it', MINUTE, async () => {
    await here.onsale.admin({ concertId: 3, paused: true });
    const { page } = await here.visitor();
    await join(page, 'Slow line');
    await page.getByRole('button', { name: 'Leave the line' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Stay' }).click();
    await page.getByRole('heading', { name: 'You are in line' }).waitFor();
    await page.getByRole('button', { name: 'Leave the line' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Leave the line' }).click();
    await page.getByRole('heading', { name: 'You have left the line' }).waitFor();
    await reload(page);
    await page.getByRole('button', { name: 'Join the line' }).waitFor();
    await here.onsale.admin({ concertId: 3, paused: false });
});

test('a hold that lapses is told in a sentence, and its seat is free for everybody', MINUTE, async () => {
    const { page } = await here.visitor();
    await join(page);
    await turn(page);
    await hold(page, 7);
    await page.getByRole('heading', { name: 'Held for you' }).waitFor();
    await page.getByRole('alert').getByText('The time to pay has run out').waitFor();
    await turn(page);
    await page.getByRole('button', { name: 'Seat 7, free' }).waitFor();
    await hold(page, 7);
    await pay(page);
});

test('a turn that ends is told, and the line may be joined again', MINUTE, async () => {
    const { page } = await here.visitor();
    await join(page, 'Short turn');
    await turn(page);
    await page.getByRole('heading', { name: 'Your place is gone' }).waitFor({ timeout: 30_000 });
    await page.getByRole('button', { name: 'Join the line again' }).click();
    await turn(page);
});

test('a concert that is sold out says so to who waits and to who comes', MINUTE, async () => {
    const { page } = await here.visitor();
    await join(page, 'Full house');
    await turn(page);
    await here.onsale.admin({ concertId: 2, paused: true });
    const waiting = await here.visitor();
    await join(waiting.page, 'Full house');
    await waiting.page.getByRole('heading', { name: 'You are in line' }).waitFor();
    await hold(page, 1);
    await pay(page);
    await waiting.page.getByRole('heading', { name: 'Everything is sold' }).waitFor();
    const late = await here.visitor();
    await late.page.goto('/#concert-2');
    await late.page.getByRole('button', { name: 'Join the line' }).click();
    await late.page.getByRole('heading', { name: 'Everything is sold' }).waitFor();
});

test('while nothing answers it is said, nothing is done twice, and then it goes on', MINUTE, async () => {
    const { page, context } = await here.visitor();
    await join(page);
    await turn(page);
    await hold(page, 15);
    // The first charge is done, and its answer lost.
    let charges = 0;
    await context.route('**/payment/charge', async (route) => {
        charges += 1;
        if (charges > 1) return route.continue();
        await route.fetch();
        return route.abort('connectionreset');
    });
    await pay(page);
    assert.equal(charges, 2);
    await page.getByText('₩0 is left in your wallet.').waitFor();
});

test('a charge whose answer stays away is told of after a reload, and done once', MINUTE, async () => {
    const { page, context } = await here.visitor();
    await join(page);
    await turn(page);
    await hold(page, 16);
    let isAway = true;
    const keys = new Set();
    await context.route('**/payment/charge', async (route) => {
        keys.add(route.request().headers()['idempotency-key']);
        if (!isAway) return route.continue();
        await route.fetch();
        return route.abort('connectionreset');
    });
    await page.getByRole('button', { name: /^Charge / }).click();
    await page.waitForTimeout(1_000);
    await reload(page);
    await page.getByRole('alert').getByText('It is not sure yet whether ₩50,000 was charged').waitFor();
    isAway = false;
    // The wallet has it: nothing is missing any more.
    await page.getByRole('button', { name: /^Pay / }).click();
    await page.getByText('₩0 is left in your wallet.').waitFor();
    assert.equal(keys.size, 1);
});

test('a seat map goes on by itself after the network was away', MINUTE, async () => {
    const { page, context } = await here.visitor();
    await join(page, 'Short turn');
    await turn(page);
    await seat(page, 20).waitFor();
    await context.setOffline(true);
    const other = await here.visitor();
    await join(other.page, 'Short turn');
    await turn(other.page);
    await hold(other.page, 20);
    await context.setOffline(false);
    await page.getByRole('button', { name: 'Seat 20, taken' }).waitFor();
});
