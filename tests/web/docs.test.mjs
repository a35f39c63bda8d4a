// The API's description as people read it: Swagger UI from this server alone.

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

test('every operation is shown, and one can be tried', { timeout: 60_000 }, async () => {
    const { page } = await browser.visitor(onsale.url);
    await page.goto('/docs');
    await page.locator('.opblock').first().waitFor();
    const description = await (await fetch(`${onsale.url}/openapi.json`)).json();
    const operations = Object.values(description.paths).flatMap((methods) => Object.keys(methods));
    assert.equal(await page.locator('.opblock').count(), operations.length);

    await page.locator('#operations-default-join_line, [id$=-join_line]').first().click();
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.locator('.live-responses-table').getByText('"queuePosition"').first().waitFor();
});
