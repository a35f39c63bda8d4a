// Buying a seat in a real browser: the whole way, by mouse, by keyboard, on a phone, in Korean, and
// two people who want the same seat.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hold, join, pay, reload, seat, turn } from './support/journey.mjs';
import { stage } from './support/stage.mjs';

const MINUTE = { timeout: 60_000 };

const here = stage();

/** What the server says that the user of a page owns. */
async function owned(page) {
    return page.evaluate(async () => {
        const { Onsale } = await import('./onsale.js');
        const sale = new Onsale({ concertId: 1, userId: Number(localStorage.getItem('onsale:user')) });
        return (await sale.reservations()).owned.map(({ seatNumber }) => seatNumber);
    });
}

test('somebody joins, waits, chooses, charges, pays and has a ticket', MINUTE, async () => {
    const { page } = await here.visitor();
    await join(page);
    await turn(page);
    // The first use of the place has prolonged it: ten minutes, not the 45 seconds to come in.
    await page.getByText(/^Your turn: 9:\d\d$/).waitFor();
    await hold(page, 1, 2);
    await page.getByRole('heading', { name: 'Held for you' }).waitFor();
    await page.getByText('Seat 2', { exact: true }).waitFor();
    await page.getByText(/^4:5\d$/).waitFor();
    await page.getByText('₩100,000 is missing').waitFor();
    await pay(page);
    assert.equal(await page.getByRole('listitem').filter({ hasText: 'Winter night' }).count(), 2);
    assert.deepEqual((await owned(page)).sort(), [1, 2]);

    await reload(page);
    await page.getByRole('heading', { name: 'See you there' }).waitFor();
    await page.getByRole('button', { name: 'Buy more' }).click();
    await turn(page);
    await seat(page, 1).waitFor();
    assert.equal(await seat(page, 1).getAttribute('data-state'), 'taken');
});

test('a hold survives a reload, may be given back, and another seat added', MINUTE, async () => {
    const { page } = await here.visitor();
    await join(page);
    await turn(page);
    await hold(page, 11);
    await page.getByRole('heading', { name: 'Held for you' }).waitFor();
    await reload(page);
    await page.getByRole('heading', { name: 'Held for you' }).waitFor();
    await page.getByRole('button', { name: 'Choose more seats' }).click();
    await turn(page);
    await hold(page, 12);
    await page.getByRole('button', { name: 'Give seat 11 back' }).click();
    await page.getByText('Seat 11', { exact: true }).waitFor({ state: 'detached' });
    await page.getByText('Seat 12', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Give seat 12 back' }).click();
    await turn(page);
    await page.getByRole('button', { name: 'Seat 11, free' }).waitFor();
});

test('of two people who want one seat, one holds it and the other is told and sees it go', MINUTE, async () => {
    const [one, other] = await Promise.all([here.visitor(), here.visitor()]);
    const pages = [one.page, other.page];
    for (const page of pages) {
        await join(page);
        await turn(page);
        await seat(page, 21).click();
    }
    await Promise.all(pages.map((page) => page.getByRole('button', { name: 'Hold these seats' }).click()));
    const outcome = (page) => Promise.race([
        page.getByRole('heading', { name: 'Held for you' }).waitFor().then(() => 'held'),
        page.getByRole('alert').getByText('Somebody else was faster: seat 21').waitFor().then(() => 'told'),
    ]);
    const outcomes = await Promise.all(pages.map(outcome));
    assert.deepEqual([...outcomes].sort(), ['held', 'told']);
    const winner = pages[outcomes.indexOf('held')];
    const loser = pages[outcomes.indexOf('told')];
    await loser.getByRole('button', { name: 'Seat 21, taken' }).waitFor();
    assert.equal(await loser.getByRole('button', { name: 'Hold these seats' }).isDisabled(), true);

    // The map is live: what is given back is free again, without a reload.
    await winner.getByRole('button', { name: 'Give seat 21 back' }).click();
    await loser.getByRole('button', { name: 'Seat 21, free' }).waitFor();
});

test('a seat that is chosen and taken meanwhile is said to be taken', MINUTE, async () => {
    const [one, other] = await Promise.all([here.visitor(), here.visitor()]);
    await join(one.page);
    await turn(one.page);
    await seat(one.page, 31).click();
    await join(other.page);
    await turn(other.page);
    await hold(other.page, 31);
    await one.page.getByRole('alert').getByText('seat 31 is taken now').waitFor();
    await one.page.getByText('Choose up to 4 seats.').waitFor();
});

test('the whole way works without a mouse', MINUTE, async () => {
    const { page } = await here.visitor();
    await page.goto('/');
    const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
    // Moves on until the named thing has the focus.
    const tabTo = async (name) => {
        for (let presses = 0; presses < 40; presses += 1) {
            await press('Tab');
            const at = await page.evaluate(() => {
                const element = document.activeElement;
                return element?.getAttribute('aria-label') ?? element?.textContent ?? '';
            });
            if (name.test(at)) return;
        }
        assert.fail(`Tab never came to ${name}`);
    };
    await page.getByRole('heading', { name: 'What would you like to see?' }).waitFor();
    await tabTo(/^Winter night/);
    await press('Enter');
    await page.getByRole('heading', { name: 'Winter night' }).waitFor();
    await tabTo(/^Join the line/);
    await press('Enter');
    await turn(page);
    // The heading has the focus, so a screen reader begins there.
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1');
    await page.getByRole('button', { name: 'Seat 50, free' }).waitFor();
    await tabTo(/^Seat 1, /);
    await press('End', 'ArrowUp', 'ArrowLeft', 'Space');
    await page.getByText('Seat 39 · ₩50,000').waitFor();
    await tabTo(/^Hold these seats/);
    await press('Enter');
    await page.getByRole('heading', { name: 'Held for you' }).waitFor();
    await tabTo(/^Charge /);
    await press('Enter');
    await page.getByRole('button', { name: /^Pay / }).waitFor();
    await tabTo(/^Pay /);
    await press('Space');
    await page.getByRole('heading', { name: 'See you there' }).waitFor();
    assert.deepEqual(await owned(page), [39]);
});

test('a phone shows everything without scrolling sideways, and its buttons can be met', MINUTE, async () => {
    const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
    const { page } = await here.visitor(phone);
    const fits = async (where) => {
        const [wide, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
        assert.ok(wide <= seen, `${where} is ${wide} wide, of ${seen}`);
    };
    await page.goto('/');
    await page.getByRole('link', { name: 'Winter night' }).waitFor();
    await fits('the choice');
    await page.getByRole('link', { name: 'Winter night' }).tap();
    await page.getByRole('button', { name: 'Join the line' }).tap();
    await turn(page);
    await seat(page, 45).tap();
    await fits('the map');
    const { width, height } = await seat(page, 45).boundingBox();
    assert.ok(width >= 24 && height >= 24, `a seat is ${width} by ${height}`);
    await page.getByRole('button', { name: 'Hold these seats' }).tap();
    await page.getByRole('button', { name: /^Charge / }).tap();
    await fits('the held seats');
    await page.getByRole('button', { name: /^Pay / }).tap();
    await page.getByRole('heading', { name: 'See you there' }).waitFor();
    await fits('the ticket');
});

test('a Korean browser is spoken to in Korean, and may choose English for good', MINUTE, async () => {
    const { page } = await here.visitor({ locale: 'ko-KR' });
    await page.goto('/#concert-1');
    await page.getByRole('button', { name: '줄 서기' }).click();
    await page.getByRole('heading', { name: '좌석을 고르세요' }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'ko');
    await page.getByRole('button', { name: /^48번 좌석, / }).click();
    await page.getByText('48번 좌석 · ₩50,000').waitFor();
    await page.getByRole('button', { name: '이 좌석 선점하기' }).click();
    await page.getByRole('heading', { name: '선점한 좌석' }).waitFor();
    await page.getByRole('button', { name: 'English' }).click();
    await page.getByRole('heading', { name: 'Held for you' }).waitFor();
    await reload(page);
    await page.getByRole('heading', { name: 'Held for you' }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'en');
});

test('thousands of seats are looked at by section, and dates are chosen', MINUTE, async () => {
    const { page } = await here.visitor();
    await join(page, 'Spring tour');
    await turn(page);
    await page.getByText('20 Apr 2031').click();
    await turn(page);
    await page.getByRole('button', { name: 'Seats 101 to 200, 100 free' }).click();
    await hold(page, 150);
    await page.getByText('Seat 150', { exact: true }).waitFor();
    await page.getByText('20 Apr 2031').waitFor();
});
