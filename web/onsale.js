/**
 * Onsale in a browser: stand in line, wait, hold seats, pay. One file, no dependency; the page of
 * the server itself is built on it, and other sites may be.
 *
 *     import { Onsale, Problem } from './onsale.js';
 *
 *     const sale = new Onsale({ concertId: 1, userId: 7 });
 *     await sale.join();
 *     await sale.wait({ onStanding: ({ queuePosition }) => console.log(queuePosition) });
 *     const [date] = await sale.dates();
 *     const [seat] = await sale.seats(date);
 *     const [hold] = await sale.hold(date, [seat]);
 *     await sale.charge(hold.price);
 *     const { payments } = await sale.pay();
 *
 * What it takes care of:
 *
 * - The place in line is kept in the browser's storage, so it survives a reload, a closed tab and
 *   sleep: a new `Onsale` of the same concert goes on with it.
 * - It asks as often as the server says (`pollAfter`), or listens to the server's events where the
 *   server has room for that; whoever comes back to the tab is told at once.
 * - What the server says did not happen (503, 429) is asked again after `Retry-After`; what may have
 *   happened is repeated in a way that has one effect. After `patience` the failure is thrown.
 * - A charge has one `Idempotency-Key`, which is kept, also over a reload, until it is sure what came
 *   of it: `unsureCharge()` tells of such a charge, and `settleCharge()` finds out.
 * - Every refusal is a `Problem` with the server's `code`; no answer at all is `Unreachable`.
 */

/** How long one attempt may take. */
const ATTEMPT_MS = 15_000;
/** How long seats that nobody tells changes of are taken for true. */
const LOOK_AT_SEATS_EVERY_MS = 2_000;
/** The longest that a stream may be silent: the server sends something every 15 seconds. */
const SILENCE_MS = 45_000;
/** After so many streams in a row that told nothing, polls do. */
const STREAMS_TRIED = 3;

/** A refusal of the server (RFC 9457). */
export class Problem extends Error {
    /**
     * @param {number} status the HTTP status
     * @param {object} body the problem as the server sent it
     * @param {?number} retryAfter seconds
     */
    constructor(status, body, retryAfter = null) {
        super(body.detail ?? body.title ?? `HTTP ${status}`);
        this.name = 'Problem';
        this.status = status;
        /** Such as `seat-taken`; of an answer that is not Onsale's, `unknown`. */
        this.code = body.code ?? 'unknown';
        this.requestId = body.requestId ?? null;
        /** Seconds after which the server wants to be asked again, or null. */
        this.retryAfter = retryAfter;
        /** Everything that the server said: `seatNumber`, `required`, `balance`, … */
        this.about = body;
    }

    /** Whether it may have happened nevertheless; to do the same again is safe and tells. */
    get isUnsure() {
        // Any other 503 of Onsale says that nothing happened; a proxy on the way knows nothing.
        return this.status >= 500 && ['outcome-unknown', 'internal', 'unknown'].includes(this.code);
    }
}

/** No answer came: the network, or the server, is away. */
export class Unreachable extends Error {
    constructor(cause) {
        super('no answer came', { cause });
        this.name = 'Unreachable';
        this.code = 'unreachable';
    }

    get isUnsure() {
        return true;
    }
}

/** A concert's line, seats and money, for one user. */
export class Onsale {
    #concertId;
    #userId;
    #base;
    #accessToken;
    #store;
    #wallet;
    #fetch;
    #patience;
    #sleep;

    /**
     * @param {object} options
     * @param {number} options.concertId
     * @param {?number} [options.userId] who buys; in `jwt` mode it is read from the JWT
     * @param {?function(): (string|Promise<string>)} [options.accessToken] answers the JWT of who is
     *     signed in, in `jwt` mode; asked for before every request, so that it may be renewed
     * @param {string|URL} [options.base] where the server is; else beside this file
     * @param {?Storage} [options.storage] what survives a reload; else `localStorage`
     * @param {function} [options.fetch]
     * @param {number} [options.patience] how many ms a request is tried for
     * @param {function(number, ?AbortSignal): Promise} [options.sleep] waits so many ms, or less
     */
    constructor({
        concertId, userId = null, accessToken = null, base = new URL('.', import.meta.url),
        storage, fetch = (...request) => globalThis.fetch(...request), patience = 20_000, sleep = sleepAwake,
    }) {
        this.#concertId = concertId;
        this.#userId = userId;
        this.#accessToken = accessToken;
        this.#base = new URL(base, globalThis.location?.href);
        this.#store = new Store(storage, `onsale:${this.#base.href}:concert-${concertId}`);
        this.#wallet = new Store(storage, `onsale:${this.#base.href}:unsure-charges`);
        this.#fetch = fetch;
        this.#patience = patience;
        this.#sleep = sleep;
    }

    /**
     * What is on sale: `{auth, maxSeatsPerUser, concerts: [{concertId, name, dates, seats, price,
     * timeZone, opensAt, closesAt}]}`. Needs no place in a line.
     */
    static async catalogue({ base = new URL('.', import.meta.url), ...more } = {}) {
        const anybody = new Onsale({ concertId: 0, base, storage: null, ...more });
        return anybody.#ask('GET', 'concerts', { token: false });
    }

    get concertId() {
        return this.#concertId;
    }

    /** The queue token, or null: a secret of its owner. */
    get token() {
        return this.#store.read('token');
    }

    /** The position at which this place began, or null. */
    get firstPosition() {
        return this.#store.read('firstPosition');
    }

    /** Who buys. */
    async userId() {
        return this.#userId ?? userOf(await this.#accessToken?.());
    }

    /** Gives the place up in this browser only; the server is not told. */
    forget() {
        this.#store.clear();
    }

    /** Takes a place in the line, or finds the own one again; answers the standing. */
    async join({ signal } = {}) {
        const body = { concertId: this.#concertId };
        const userId = await this.userId();
        if (userId !== null) body.userId = userId;
        const { token, ...standing } = await this.#ask('POST', 'user/token', { body, token: false, signal });
        if (token !== this.token) {
            this.#store.write('token', token);
            this.#store.write('firstPosition', standing.queuePosition);
        }
        return timed(standing);
    }

    /**
     * Where the place stands: `{status, queuePosition, estimatedWaitTime, pollAfter, message}`, with
     * `expiresIn` and `endsAt` (this browser's clock, ms) once it is active.
     */
    async standing({ signal } = {}) {
        return timed(await this.#ask('GET', 'user/token/status', { signal }));
    }

    /**
     * Waits until it is this place's turn, and answers that standing. `onStanding` gets every
     * standing on the way: `prequeue`, `waiting`, or `sold-out` (somebody may give a seat back).
     * Answers, too, when the sale is `closed`.
     */
    async wait({ signal, onStanding = () => {} } = {}) {
        const isOver = ({ status }) => status === 'active' || status === 'closed';
        const told = await this.#listen('user/token/events', {
            signal,
            onEvent: (name, standing) => {
                // The token is no longer live; the answer to a poll says why.
                if (name === 'gone') return this.standing({ signal });
                const now = timed(standing);
                onStanding(now);
                return isOver(now) ? now : undefined;
            },
        });
        if (told) return told;
        for (;;) {
            const standing = await this.standing({ signal });
            onStanding(standing);
            if (isOver(standing)) return standing;
            await this.#sleep(standing.pollAfter * 1_000, signal);
        }
    }

    /** The dates with a free seat. The first use of a token whose turn has come must be soon. */
    async dates({ signal } = {}) {
        const query = { concertId: this.#concertId };
        return (await this.#ask('GET', 'concert/available-dates', { query, signal })).availableDates;
    }

    /** The numbers of the free seats of a date. */
    async seats(date, { signal } = {}) {
        const query = { concertId: this.#concertId, concertDate: date };
        return (await this.#ask('GET', 'concert/available-seats', { query, signal })).availableSeats;
    }

    /** Tells `onSeats` the set of free seats of a date, now and at every change, until `signal`. */
    async watchSeats(date, { signal, onSeats }) {
        let free = new Set();
        const path = `concert/${this.#concertId}/seats/events`;
        const ended = await this.#listen(path, {
            query: { concertDate: date },
            signal,
            onEvent: (name, { availableSeats = [], taken = [], freed = [] }) => {
                if (name === 'ended') return true;
                if (name === 'seats') free = new Set(availableSeats);
                taken.forEach((seat) => free.delete(seat));
                freed.forEach((seat) => free.add(seat));
                onSeats(new Set(free));
                return undefined;
            },
        });
        while (!ended) {
            onSeats(new Set(await this.seats(date, { signal })));
            await this.#sleep(LOOK_AT_SEATS_EVERY_MS, signal);
        }
        // Why it ended: a problem, if the place is gone.
        onSeats(new Set(await this.seats(date, { signal })));
    }

    /** Holds seats of a date, all or none; answers the holds, each with its `endsAt`. */
    async hold(date, seatNumbers, { signal } = {}) {
        const [userId, asked] = [await this.userId(), Date.now()];
        const body = { userId, concertId: this.#concertId, concertDate: date, seatNumbers };
        const { seats } = await this.#ask('POST', 'concert/reserve', { body, signal });
        return seats.map((hold) => ending(hold, asked));
    }

    /** Gives a hold back. */
    async release(reservationId, { signal } = {}) {
        const query = { userId: await this.userId(), concertId: this.#concertId, reservationId };
        await this.#ask('DELETE', 'concert/reserve', { query, signal, doneIf: 'unknown-reservation' });
    }

    /**
     * Adds to the wallet; answers the new balance. Called again with the same amount after a failure
     * it is the same charge, done once; with another amount, what came of the first is found out first.
     */
    async charge(amount, { signal } = {}) {
        const userId = await this.userId();
        const unsure = this.#wallet.read(userId);
        if (unsure && unsure.amount !== amount) await this.#settle(userId, unsure, true, signal);
        if (unsure?.amount === amount) return this.#settle(userId, unsure, true, signal);
        return this.#settle(userId, { amount, key: randomKey() }, false, signal);
    }

    /** The amount of a charge of this user that may have happened or not, also before a reload; or null. */
    async unsureCharge() {
        return this.#wallet.read(await this.userId())?.amount ?? null;
    }

    /** Does an unsure charge, if it was not done yet; answers the balance, or null if there is none. */
    async settleCharge({ signal } = {}) {
        const userId = await this.userId();
        const unsure = this.#wallet.read(userId);
        return unsure && this.#settle(userId, unsure, true, signal);
    }

    /** One charge under its key, which is kept until it is sure what came of it. */
    async #settle(userId, { amount, key }, isUnsure, signal) {
        this.#wallet.write(userId, { amount, key });
        const onUnsure = () => {
            isUnsure = true;
        };
        try {
            const body = { userId, amount };
            const { balance } = await this.#ask('POST', 'payment/charge', { body, key, signal, onUnsure });
            this.#forget(userId, key);
            return balance;
        } catch (error) {
            // After an attempt that may have been done only the wallet itself can refuse it: whoever
            // stands before it (a place that is over, a limit) does not know. If no attempt was, any can.
            const isRefused = error instanceof Problem && !error.isUnsure;
            if (isRefused && (!isUnsure || error.status === 422)) this.#forget(userId, key);
            throw error;
        }
    }

    /** Forgets a charge that is settled, unless another page has begun another one meanwhile. */
    #forget(userId, key) {
        if (this.#wallet.read(userId)?.key === key) this.#wallet.write(userId, undefined);
    }

    /** What is in the wallet. */
    async balance({ signal } = {}) {
        const query = { userId: await this.userId() };
        return (await this.#ask('GET', 'payment/balance', { query, signal })).balance;
    }

    /** Pays for all that is held. A place buys once: to repeat it gives the same answer. */
    async pay({ signal } = {}) {
        const body = { userId: await this.userId() };
        return this.#ask('POST', 'payment', { body, signal });
    }

    /** `{holds, owned}`: what is held in this concert, each with its `endsAt`, and what is owned. */
    async reservations({ signal } = {}) {
        const [userId, asked] = [await this.userId(), Date.now()];
        const { holds, ...more } = await this.#ask('GET', 'user/reservations', { query: { userId }, signal });
        return { ...more, holds: holds.map((hold) => ending(hold, asked)) };
    }

    /** Gives the place up, with all that is held. */
    async leave({ signal } = {}) {
        await this.#ask('DELETE', 'user/token', { signal, doneIf: 'token-expired' });
        this.#store.clear();
    }

    /**
     * One request, repeated as long as that is right; `doneIf`: what a repetition of it is told;
     * `onUnsure` hears of an attempt that may have been done.
     */
    async #ask(method, path, { doneIf, onUnsure, signal, ...more } = {}) {
        const until = Date.now() + this.#patience;
        let isUnsure = false;
        for (let attempt = 0; ; attempt += 1) {
            let failure;
            try {
                const answer = await this.#send(method, path, { signal, ...more });
                if (answer.ok) return await answer.json();
                failure = await problemOf(answer);
            } catch (error) {
                signal?.throwIfAborted();
                failure = new Unreachable(error);
            }
            if (isUnsure && failure.code === doneIf) return null;
            isUnsure ||= failure.isUnsure;
            if (failure.isUnsure) onUnsure?.();
            const wait = waitAfter(failure, attempt);
            if (wait === null || Date.now() + wait > until) throw failure;
            await this.#sleep(wait, signal);
        }
    }

    async #send(method, path, { query = {}, body, key, token = true, signal, within = ATTEMPT_MS, accept }) {
        const url = new URL(path, this.#base);
        url.search = new URLSearchParams(query);
        const headers = { Accept: accept ?? 'application/json' };
        if (body) headers['Content-Type'] = 'application/json';
        if (key) headers['Idempotency-Key'] = key;
        // Never in the address, which others may note down.
        if (token && this.token) headers['Queue-Token'] = this.token;
        const access = await this.#accessToken?.();
        if (access) headers.Authorization = `Bearer ${access}`;
        const limit = limited(within, signal);
        try {
            return await this.#fetch(url, {
                method, headers, body: body && JSON.stringify(body), signal: limit.signal, cache: 'no-store',
            });
        } finally {
            if (!accept) limit.done();
        }
    }

    /**
     * Listens to the server's events until `onEvent` answers something, which is answered here.
     * Undefined if the server has no stream for us: poll then.
     */
    async #listen(path, { query, signal, onEvent }) {
        let failed = 0;
        let retry = 2_000;
        while (failed < STREAMS_TRIED) {
            signal?.throwIfAborted();
            // Whoever comes back from sleep does not wait for a connection that is dead.
            const awake = new AbortController();
            const stopWaking = onWake(() => awake.abort());
            const limit = limited(SILENCE_MS, signal, awake.signal);
            failed += 1;
            try {
                const more = { query, signal: limit.signal, within: SILENCE_MS, accept: 'text/event-stream' };
                const answer = await this.#send('GET', path, more);
                const type = answer.headers.get('Content-Type') ?? '';
                if (!answer.ok || !type.startsWith('text/event-stream')) return undefined;
                for await (const event of eventsOf(answer.body, limit.renew)) {
                    if (event.retry) retry = event.retry;
                    if (!event.name) continue;
                    failed = 0;
                    const end = await onEvent(event.name, JSON.parse(event.data));
                    if (end !== undefined) return end;
                }
            } catch (error) {
                signal?.throwIfAborted();
                // What onEvent found out by asking.
                if (error instanceof Problem || error instanceof Unreachable) throw error;
            } finally {
                limit.abort();
                stopWaking();
            }
            if (!awake.signal.aborted) await this.#sleep(retry * (0.5 + Math.random()), signal);
        }
        return undefined;
    }
}

/** The events of a stream; `alive` is called whenever anything comes. */
async function* eventsOf(body, alive) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        alive();
        text += value;
        for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
            const event = { name: '', data: '', retry: 0 };
            for (const line of text.slice(0, end).split('\n')) {
                const colon = line.indexOf(':');
                const [field, given] = [line.slice(0, colon), line.slice(colon + 1).trimStart()];
                if (field === 'event') event.name = given;
                if (field === 'data') event.data += given;
                if (field === 'retry') event.retry = Number(given) || 0;
            }
            text = text.slice(end + 2);
            yield event;
        }
    }
}

/** How many ms to wait before the same request again; null: it makes no sense. */
function waitAfter(failure, attempt) {
    // Not all who were refused together come again together.
    const spread = (ms) => ms * (1 + Math.random() / 2);
    if (failure.status === 503 || failure.status === 429) return spread((failure.retryAfter ?? 1) * 1_000);
    if (failure.isUnsure) return spread(Math.min(300 * 2 ** attempt, 3_000));
    return failure.status === 408 ? 0 : null;
}

async function problemOf(answer) {
    const retryAfter = Number(answer.headers.get('Retry-After')) || null;
    const isProblem = answer.headers.get('Content-Type')?.startsWith('application/problem+json');
    // A proxy on the way may answer in another form.
    const body = isProblem ? await answer.json() : {};
    return new Problem(answer.status, body, retryAfter);
}

/** An AbortSignal of several reasons: others, and a time that can begin anew. */
function limited(ms, ...signals) {
    const own = new AbortController();
    const abort = () => own.abort();
    const others = signals.filter(Boolean);
    others.forEach((signal) => signal.addEventListener('abort', abort));
    if (others.some((signal) => signal.aborted)) abort();
    let timer = setTimeout(abort, ms);
    const done = () => {
        clearTimeout(timer);
        others.forEach((signal) => signal.removeEventListener('abort', abort));
    };
    return {
        signal: own.signal,
        renew: () => {
            clearTimeout(timer);
            timer = setTimeout(abort, ms);
        },
        done,
        abort: () => {
            done();
            abort();
        },
    };
}

/** With the moment at which an active place ends, counted from before the answer came. */
function timed(standing) {
    return standing.expiresIn === undefined ? standing : ending(standing, Date.now());
}

function ending(what, asked) {
    return { ...what, endsAt: asked + what.expiresIn * 1_000 };
}

/** Calls `wake` when somebody comes back to this tab or this network; answers how to stop that. */
function onWake(wake) {
    if (!globalThis.document) return () => {};
    const visible = () => document.visibilityState === 'visible' && wake();
    document.addEventListener('visibilitychange', visible);
    // From a browser's cache of pages; the first showing of a page is none.
    const shown = ({ persisted }) => persisted && wake();
    window.addEventListener('online', wake);
    window.addEventListener('pageshow', shown);
    return () => {
        document.removeEventListener('visibilitychange', visible);
        window.removeEventListener('online', wake);
        window.removeEventListener('pageshow', shown);
    };
}

/** Waits so many ms; less, when somebody comes back to the tab. */
export function sleepAwake(ms, signal) {
    return new Promise((done, failed) => {
        signal?.throwIfAborted();
        const end = (settle) => () => {
            clearTimeout(timer);
            stopWaking();
            signal?.removeEventListener('abort', abort);
            settle();
        };
        const abort = end(() => failed(signal.reason));
        const wake = end(done);
        const timer = setTimeout(wake, ms);
        const stopWaking = onWake(wake);
        signal?.addEventListener('abort', abort);
    });
}

/** The user that a JWT names; the server checks it, this only reads. */
function userOf(jwt) {
    if (!jwt) return null;
    const payload = jwt.split('.')[1]?.replaceAll('-', '+').replaceAll('_', '/') ?? '';
    try {
        return Number(JSON.parse(atob(payload)).sub) || null;
    } catch {
        return null;
    }
}

/** `crypto.randomUUID` is only there where the connection is secure. */
function randomKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Values that survive a reload, below one name; in memory, where a browser keeps nothing. */
class Store {
    #storage;
    #name;

    constructor(storage, name) {
        this.#storage = storage === undefined ? browserStorage() : storage ?? inMemory();
        this.#name = name;
    }

    #all() {
        try {
            return JSON.parse(this.#storage.getItem(this.#name)) ?? {};
        } catch {
            return {};
        }
    }

    read(key) {
        return this.#all()[key] ?? null;
    }

    write(key, value) {
        this.#storage.setItem(this.#name, JSON.stringify({ ...this.#all(), [key]: value }));
    }

    clear() {
        this.#storage.removeItem(this.#name);
    }
}

function browserStorage() {
    try {
        const storage = globalThis.localStorage;
        storage.setItem('onsale:probe', '1');
        storage.removeItem('onsale:probe');
        return storage;
    } catch {
        return inMemory();
    }
}

function inMemory() {
    const values = new Map();
    return {
        getItem: (name) => values.get(name) ?? null,
        setItem: (name, value) => values.set(name, value),
        removeItem: (name) => values.delete(name),
    };
}
