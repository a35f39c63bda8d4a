// What web/onsale.js makes of a charge whose answer is lost: a wallet that does what it is asked, once per
// key, and whose answers the test takes away.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

const source = await readFile(new URL('../../web/onsale.js', import.meta.url), 'utf8');
const { Onsale } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const PROBLEM = { 'Content-Type': 'application/problem+json', 'Retry-After': '1' };
const problem = (status, code) => () => new Response(JSON.stringify({ code }), { status, headers: PROBLEM });
const EXPIRED = problem(401, 'token-expired');
const AWAY = problem(503, 'database-unavailable');
const LIMITED = problem(429, 'too-many-requests');
const UNKNOWN = problem(503, 'outcome-unknown');
const PROXY = () => new Response('<h1>Bad gateway</h1>', { status: 502 });
const LOST = () => {
    throw new TypeError('network');
};

/** A browser with a storage, and a wallet behind it. */
function stage() {
    const kept = new Map();
    const storage = {
        getItem: (name) => kept.get(name) ?? null,
        setItem: (name, value) => kept.set(name, value),
        removeItem: (name) => kept.delete(name),
    };
    const answers = new Map();
    const wallet = {
        balances: new Map(),
        keys: [],
        /** Of the next requests: `[done or not, what is told instead]`. */
        next: [],
    };
    const fetch = async (url, { body, headers }) => {
        const [isDone, told] = wallet.next.shift() ?? [true, null];
        const key = headers['Idempotency-Key'];
        wallet.keys.push(key);
        if (isDone && !answers.has(key)) {
            const { userId, amount } = JSON.parse(body);
            const balance = (wallet.balances.get(userId) ?? 0) + amount;
            wallet.balances.set(userId, balance);
            answers.set(key, balance);
        }
        return told ? told() : Response.json({ balance: answers.get(key) });
    };
    const sleep = async () => {};
    /** A page of this browser, as after a reload. */
    const page = ({ userId = 7, concertId = 1, patience = 0 } = {}) => new Onsale({
        concertId, userId, base: 'http://onsale.test/', storage, fetch, patience, sleep,
    });
    return { wallet, page };
}

const fails = (code) => (error) => error.code === code;

test('a charge whose answer is lost is asked again under its key, and done once', async () => {
    for (const told of [LOST, UNKNOWN, PROXY]) {
        const { wallet, page } = stage();
        wallet.next = [[true, told]];
        const sale = page({ patience: 60_000 });
        assert.equal(await sale.charge(500), 500);
        assert.equal(new Set(wallet.keys).size, 1);
        assert.equal(wallet.keys.length, 2);
        assert.equal(await sale.unsureCharge(), null);
        // The next one is another, also of the same amount.
        assert.equal(await sale.charge(500), 1000);
    }
});

test('a charge that is unsure is known after a reload, of every concert, and to nobody else', async () => {
    const { wallet, page } = stage();
    wallet.next = [[true, LOST]];
    await assert.rejects(page().charge(500), fails('unreachable'));
    assert.equal(await page().unsureCharge(), 500);
    assert.equal(await page({ concertId: 2 }).unsureCharge(), 500);
    assert.equal(await page({ userId: 8 }).unsureCharge(), null);
    page().forget();
    assert.equal(await page({ concertId: 2 }).settleCharge(), 500);
    assert.equal(await page().unsureCharge(), null);
    assert.equal(await page().settleCharge(), null);
    assert.equal(wallet.balances.get(7), 500);
    assert.equal(wallet.keys.length, 2);
});

test('another amount is another charge, after what came of the first is known', async () => {
    const { wallet, page } = stage();
    wallet.next = [[false, LOST]];
    await assert.rejects(page().charge(500), fails('unreachable'));
    assert.equal(await page().charge(200), 700);
    assert.equal(new Set(wallet.keys).size, 2);
    // While that is not known, nothing else is charged.
    wallet.next = [[true, LOST], [true, LOST]];
    await assert.rejects(page().charge(300), fails('unreachable'));
    await assert.rejects(page().charge(100), fails('unreachable'));
    assert.equal(wallet.balances.get(7), 1000);
    assert.equal(await page().unsureCharge(), 300);
});

test('a charge that is answered late does not forget the charge of another page', async () => {
    const { wallet, page } = stage();
    let answer;
    const late = new Promise((resolve) => {
        answer = resolve;
    });
    wallet.next = [[true, () => late]];
    const first = page().charge(1000);
    while (wallet.keys.length === 0) await new Promise(setImmediate);
    wallet.next = [[true, null], [true, LOST]];
    await assert.rejects(page().charge(500), fails('unreachable'));
    answer(Response.json({ balance: 1000 }));
    assert.equal(await first, 1000);
    assert.equal(await page().unsureCharge(), 500);
});

test('what nobody can know is no end of a charge, and what is known is', async () => {
    for (const refusal of [EXPIRED, LIMITED, AWAY]) {
        const { wallet, page } = stage();
        wallet.next = [[true, LOST], [false, refusal], [false, refusal]];
        await assert.rejects(page().charge(500), fails('unreachable'));
        await assert.rejects(page().charge(500));
        assert.equal(await page().unsureCharge(), 500, 'the first may have been done');
        await assert.rejects(page().settleCharge());
        assert.equal(await page().settleCharge(), 500);
        assert.equal(wallet.balances.get(7), 500);

        wallet.next = [[false, refusal]];
        await assert.rejects(page().charge(100));
        assert.equal(await page().unsureCharge(), null, 'nothing has happened');
    }
    const { wallet, page } = stage();
    wallet.next = [[false, LOST], [false, problem(422, 'out-of-range')]];
    await assert.rejects(page().charge(500), fails('unreachable'));
    await assert.rejects(page().settleCharge(), fails('out-of-range'));
    assert.equal(await page().unsureCharge(), null, 'the wallet itself has refused it');
});
