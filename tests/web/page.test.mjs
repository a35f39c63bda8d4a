// What browsers get from the server, as Chromium sees it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startBrowser } from './support/browser.mjs';
import { startOnsale } from './support/onsale.mjs';

let onsale;
let browser;

before(async () => {
    onsale = await startOnsale();
    browser = await startBrowser();
}, { timeout: 120_000 });

after(async () => {
    await browser?.close();
    await onsale?.stop();
}, { timeout: 60_000 });

test('the page loads all that it names, from this server alone', async () => {
    const { page, requests } = await browser.visitor(onsale.url);
    const answers = [];
    page.on('response', (answer) => answers.push(answer));
    await page.goto('/', { waitUntil: 'networkidle' });
    assert.match(await page.title(), /Onsale/);
    assert.ok(requests.length >= 2, `${requests.length} requests`);
    for (const answer of answers) assert.equal(answer.status(), 200, answer.url());
});

test('what somebody slips into the page is not run', async () => {
    const { page, faults } = await browser.visitor(onsale.url);
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
