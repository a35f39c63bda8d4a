// The API's description as people read it, from this server alone; and the examples of docs/clients.md,
// run as they stand there.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { k6 } from './support/k6.mjs';
import { stage } from './support/stage.mjs';


const here = stage();

test('every operation is shown, and one can be tried', { timeout: 60_000 }, async () => {
    const { page } = await here.visitor();
    await page.goto('/docs');
    await page.locator('.opblock').first().waitFor();
    const description = await (await fetch(`${here.onsale.url}/openapi.json`)).json();
    const operations = Object.values(description.paths).flatMap((methods) => Object.keys(methods));
    assert.equal(await page.locator('.opblock').count(), operations.length);
    const groups = await page.locator('.opblock-tag').evaluateAll((all) => all.map((one) => one.dataset.tag));
    assert.deepEqual(groups, ['Line', 'Seats', 'Payments', 'Operators', 'Server']);

    await page.locator('#operations-Line-join_line').click();
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.locator('.live-responses-table').getByText('"queuePosition"').first().waitFor();
});

/** A block of docs/clients.md, by the mark before it. */
async function example(name) {
    const page = await readFile(new URL('../../docs/clients.md', import.meta.url), 'utf8');
    const block = page.split(`<!-- example: ${name} -->\n\`\`\`js\n`)[1]?.split('```\n')[0];
    assert.ok(block, `docs/clients.md has no example ${name}`);
    return block;
}

test('the example in JavaScript buys a seat', { timeout: 60_000 }, async () => {
    const { page, context } = await here.visitor();
    await context.route('**/example.js', async (route) => route.fulfill({
        contentType: 'text/javascript', body: await example('javascript'),
    }));
    await page.goto('/');
    const bought = await page.evaluate(async () => {
        const { buyOneSeat } = await import('/example.js');
        const said = [];
        const paid = await buyOneSeat(77, (line) => said.push(line));
        return { said, paid };
    });
    assert.match(bought.said[0], /^position \d$/);
    assert.equal(bought.paid.status, 'completed');
    assert.deepEqual(bought.paid.payments.map(({ seatNumber, amount }) => [seatNumber, amount]), [[1, 50_000]]);
});

test('the example for k6 buys five seats', { timeout: 120_000 }, async () => {
    const { code, said } = await k6('-', { settings: { BASE: here.onsale.url }, text: await example('k6') });
    assert.equal(code, 0, said);
    assert.match(said, /checks_succeeded\D+100\.00% 10 out of 10/, said);
});
