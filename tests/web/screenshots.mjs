// The pictures of the README: `scripts/screenshots.sh`.

import assert from 'node:assert/strict';

import { startBrowser } from './support/browser.mjs';
import { join, pay, seat, turn } from './support/journey.mjs';
import { startOnsale } from './support/onsale.mjs';
import { picture } from './support/picture.mjs';

const FOLDER = process.argv[2];
const PHONE = { viewport: { width: 390, height: 780 }, deviceScaleFactor: 1.5, isMobile: true, hasTouch: true, reducedMotion: 'reduce' };

const onsale = await startOnsale();
const browser = await startBrowser();

async function post(path, body, token) {
    const answer = await fetch(`${onsale.url}${path}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...(token && { 'Queue-Token': token }) },
        body: JSON.stringify(body),
    });
    return answer.json();
}

/** Somebody else, who holds seats. */
async function other(userId, seatNumbers) {
    const { token } = await post('/user/token', { concertId: 1, userId });
    for (;;) {
        const held = await post('/concert/reserve', { userId, concertId: 1, seatNumbers }, token);
        if (held.status === 'reserved') return;
        assert.equal(held.code, 'still-waiting');
        await new Promise((done) => setTimeout(done, 500));
    }
}

const { page } = await browser.visitor(onsale.url, PHONE);
await Promise.all([[3, 4], [13, 14, 15], [21, 22], [28], [35, 36, 37], [44, 45]].map((seats, at) => other(100 + at, seats)));
await onsale.admin({ concertId: 1, paused: true, message: 'Doors open at 19:00. We go on in a moment.' });
await Promise.all(Array.from({ length: 128 }, (_, at) => post('/user/token', { concertId: 1, userId: 1_000 + at })));
await join(page);
await page.getByRole('heading', { name: 'You are in line' }).waitFor();
await page.getByText('From the organisers').waitFor();
await picture(page, FOLDER, 'line');
await onsale.admin({ concertId: 1, paused: false, message: null });
await turn(page);
await page.getByRole('button', { name: 'Seat 24, free' }).waitFor();
await seat(page, 24).click();
await seat(page, 25).click();
await picture(page, FOLDER, 'seats');
await page.getByRole('button', { name: 'Hold these seats' }).click();
await page.getByRole('heading', { name: 'Held for you' }).waitFor();
await page.getByText(/^4:5\d$/).waitFor();
await picture(page, FOLDER, 'held');
await pay(page);
await picture(page, FOLDER, 'ticket');

const dark = await browser.visitor(onsale.url, { ...PHONE, locale: 'ko-KR', colorScheme: 'dark' });
await dark.page.goto('/#concert-1');
await dark.page.getByRole('button', { name: '줄 서기' }).click();
await dark.page.getByRole('button', { name: /^8번 좌석, 빈/ }).click();
await picture(dark.page, FOLDER, 'seats-korean-dark');

await browser.close();
await onsale.stop();
