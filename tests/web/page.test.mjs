// What browsers get from the server, as Chromium sees it.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { hold, join, pay, turn } from './support/journey.mjs';
import { startOnsale } from './support/onsale.mjs';
import { stage } from './support/stage.mjs';

const SECRET = 'the secret with which a test signs its JWTs';

const here = stage();

test('the page loads all that it names, from this server alone', async () => {
    const { page, requests } = await here.visitor();
    const answers = [];
    page.on('response', (answer) => answers.push(answer));
    await page.goto('/', { waitUntil: 'networkidle' });
    assert.match(await page.title(), /Onsale/);
    assert.ok(requests.length >= 2, `${requests.length} requests`);
    for (const answer of answers) assert.equal(answer.status(), 200, answer.url());
});

test('what somebody slips into the page is not run', async () => {
    const { page, faults } = await here.visitor();
    await page.goto('/');
    const ran = await page.evaluate(async () => {
        const refused = new Promise((told) => {
            document.addEventListener('securitypolicyviolation', (event) => told(event.effectiveDirective));
        });
        const script = document.createElement('script');
        try {
            script.textContent = 'window.slipped = true';
        } catch {
            return { slipped: window.slipped, refused: 'trusted types' };
        }
        document.body.append(script);
        return { slipped: window.slipped, refused: await refused };
    });
    assert.deepEqual(ran, { slipped: undefined, refused: 'trusted types' });
    assert.ok(faults.length > 0, 'the watch over the console sees it');
    faults.length = 0;
});

test('no token is in an address', { timeout: 60_000 }, async () => {
    const { page, requests } = await here.visitor();
    await join(page);
    await turn(page);
    await hold(page, 3);
    await pay(page);
    const token = await page.evaluate(() => {
        const name = Object.keys(localStorage).find((key) => key.endsWith(':concert-1'));
        return JSON.parse(localStorage.getItem(name)).token;
    });
    assert.match(token, /^[0-9a-f-]{36}_\d+$/);
    const [uuid] = token.split('_');
    assert.ok(requests.some((request) => request.headers()['queue-token'] === token), 'it is sent');
    for (const request of requests) {
        assert.ok(!request.url().includes(uuid), request.url());
        // The browser's tool tells of one that is not sent as an empty one.
        assert.ok(!request.headers().referer, request.url());
    }
});

/** A JWT with this payload, signed with HS256. */
async function signed(payload) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(payload)}`;
    return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

test('in jwt mode the page buys for who is signed in, and an address signs nobody in', { timeout: 120_000 }, async () => {
    const strict = await startOnsale({ settings: { ONSALE_AUTH: 'jwt', ONSALE_JWT_SECRET: SECRET } });
    try {
        const jwt = await signed({ sub: '4711', exp: Math.floor(Date.now() / 1_000) + 3_600 });
        const { page, requests } = await here.browser.visitor(strict.url);
        await page.goto(`/?access_token=${jwt}#access_token=${jwt}`);
        await page.goto('/#concert-1');
        await page.getByText('Please sign in first').waitFor();
        await page.evaluate((token) => localStorage.setItem('onsale:access-token', token), jwt);
        await page.reload();
        await page.getByRole('button', { name: 'Join the line' }).click();
        await turn(page);
        await hold(page, 5);
        await pay(page);
        const paid = requests.find((request) => request.url().endsWith('/payment'));
        assert.deepEqual(paid.postDataJSON(), { userId: 4711 });
    } finally {
        await strict.stop();
    }
});
