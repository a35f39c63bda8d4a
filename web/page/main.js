// The people's page: which screen is shown, and what they share.
//
// A screen is a function of a stage and its arguments that fills `stage.main`. It ends when another
// one is shown: `stage.signal` is aborted then. What a screen shows comes from the server each time,
// so that a reload, or another language, is the same screen again.

import { Onsale, Problem, Unreachable } from '../onsale.js';
import { checkout, settled } from './checkout.js';
import { choose, intro } from './concerts.js';
import { confirmed, countdown, el, setText } from './dom.js';
import { ended, line } from './line.js';
import { seats } from './seats.js';
import { ticket } from './ticket.js';
import * as speech from './words.js';

const USER = 'onsale:user';
/** Where a site that signs people in puts their JWT, for this page. */
const ACCESS_TOKEN = 'onsale:access-token';
const USER_MAX = 2 ** 53 - 1;

const place = Object.fromEntries(
    ['main', 'alert', 'status', 'session', 'languages', 'footer'].map((id) => [id, document.getElementById(id)]),
);

/** What every screen gets. */
class Stage {
    catalogue = null;
    concert = null;
    sale = null;
    signal = null;
    main = place.main;
    /** When this place's turn ends, by this browser's clock in ms; null outside of it. */
    endsAt = null;
    #screen = null;
    #ending = new AbortController();
    #session = new AbortController();
    #showing = 0;

    /** Shows a screen, once it has what it needs; the focus goes to its heading. */
    async show(screen, ...args) {
        const mine = ++this.#showing;
        this.#ending.abort();
        this.#ending = new AbortController();
        this.signal = this.#ending.signal;
        this.#screen = [screen, args];
        const { signal } = this;
        try {
            const shown = await screen(this, ...args);
            if (mine !== this.#showing || !shown) return;
            this.main.replaceChildren(...[shown].flat());
            const heading = this.main.querySelector('h1');
            heading?.setAttribute('tabindex', '-1');
            heading?.focus({ preventScroll: true });
            window.scrollTo(0, 0);
            document.title = `${heading?.textContent ?? ''} · ${this.concert?.name ?? 'Onsale'}`;
        } catch (error) {
            if (signal.aborted) return;
            await this.failed(error);
        }
    }

    /** The same screen again, such as in another language. */
    again() {
        this.frame();
        if (this.#screen) this.show(this.#screen[0], ...this.#screen[1]);
    }

    /** Does what somebody asked for; tells, or shows, what became of it. */
    async act(work) {
        this.say('');
        try {
            return await work();
        } catch (error) {
            if (this.signal.aborted) return undefined;
            return await this.failed(error);
        }
    }

    /** Shows what a failure means: another screen, or a sentence on this one. */
    async failed(error) {
        if (!(error instanceof Problem || error instanceof Unreachable)) {
            if (error.name === 'AbortError') return;
            console.error(error);
        }
        const next = {
            'token-expired': () => this.lost(),
            'token-invalid': () => this.show(ended, 'lapsed'),
            // Somebody else used this browser before.
            'not-yours': () => this.another(speech.sentence(error)),
            'still-waiting': () => this.show(line),
            'hold-expired': () => this.resume(speech.words().checkout.lapsed),
            'sold-out': () => this.show(ended, 'soldOut'),
            closed: () => this.show(ended, 'closed'),
        }[error.code];
        if (next) {
            // What it asks for may be overtaken by another screen, or fail itself.
            await next().catch((failure) => failure.name === 'AbortError' || this.say(speech.sentence(failure)));
            return;
        }
        // Without a screen there is nothing to go on from.
        if (this.main.childElementCount === 0 || this.#screen[0] === opening) this.show(ended, 'away');
        this.say(speech.sentence(error));
    }

    /** A sentence that must not be missed; none takes it away. */
    say(text) {
        setText(place.alert, text);
    }

    /** A sentence for who does not see the page change. */
    tell(text) {
        setText(place.status, text);
    }

    confirmed(question, yes, no) {
        return confirmed(question, yes, no);
    }

    /** It is this place's turn until then; null: it is not. The time left is always in sight. */
    turnUntil(endsAt) {
        this.endsAt = endsAt;
        this.#session.abort();
        this.#session = new AbortController();
        place.session.hidden = endsAt === null;
        if (endsAt === null) return;
        const tick = (seconds) => {
            setText(place.session, speech.words().seats.left(speech.clock(seconds)));
            place.session.classList.toggle('urgent', seconds <= 60);
            if (seconds === 60) this.tell(speech.words().seats.leftSoon);
        };
        // The server decides; a moment later it has. By then the end may be known already.
        const { signal } = this.#session;
        const over = () => setTimeout(() => signal.aborted || this.resume(), 1_000);
        countdown(endsAt, signal, tick, over);
    }

    /** How long the turn lasts now: the first use of a place prolongs it, and so does a hold. */
    async look() {
        const standing = await this.sale.standing({ signal: this.signal });
        if (standing.status === 'active') this.turnUntil(standing.endsAt);
    }

    /** The screen that the place is at, whatever happened meanwhile; with a sentence about it. */
    async resume(said = '') {
        await this.show(opening);
        if (said) this.say(said);
    }

    /** The place kept here is another user's: whoever is here now begins anew. */
    async another(said) {
        this.turnUntil(null);
        this.sale.forget();
        await this.resume(said);
    }

    /** What became of a place that is gone: bought, or nothing. */
    async lost() {
        this.turnUntil(null);
        const bought = await this.bought();
        if (bought.length > 0) await this.show(ticket, { payments: bought });
        else await this.show(ended, 'lapsed');
    }

    /** The seats that the place has paid for. */
    async bought() {
        try {
            const { owned } = await this.sale.reservations({ signal: this.signal });
            return owned.filter(({ concertId }) => concertId === this.concert.concertId);
        } catch (error) {
            if (error.code === 'token-expired') return [];
            throw error;
        }
    }

    /** Whether somebody is known to buy. */
    get isSignedIn() {
        return this.catalogue.auth !== 'jwt' || Boolean(read(ACCESS_TOKEN));
    }

    /** A sale of a concert, for whoever this browser belongs to. */
    saleOf(concert) {
        const isTrusted = this.catalogue.auth === 'trust';
        return new Onsale({
            concertId: concert.concertId,
            userId: isTrusted ? user() : null,
            accessToken: isTrusted ? null : () => read(ACCESS_TOKEN),
        });
    }

    /** What stands around every screen. */
    frame() {
        const { footer } = speech.words();
        document.documentElement.lang = speech.language();
        place.languages.replaceChildren(...speech.languages().map(([tag, name]) => el('button', {
            type: 'button',
            lang: tag,
            'aria-pressed': String(tag === speech.language()),
            onclick: () => {
                speech.choose(tag);
                this.say('');
                this.again();
                if (this.endsAt) this.turnUntil(this.endsAt);
            },
        }, name)));
        const isDemo = this.catalogue?.auth === 'trust';
        place.footer.replaceChildren(
            el('p', {}, footer.promise),
            isDemo ? el('p', { class: 'demo' }, footer.demo(user())) : '',
            el('p', {}, el('a', { href: 'docs' }, footer.api)),
        );
    }
}

function read(name) {
    try {
        return localStorage.getItem(name);
    } catch {
        return null;
    }
}

let made = null;

/** In `trust` mode: a user of this browser's own, who nobody else happens to be. */
function user() {
    made ??= Number(read(USER));
    if (!made) {
        const [high, low] = crypto.getRandomValues(new Uint32Array(2));
        made = ((high % 2 ** 21) * 2 ** 32 + low) % USER_MAX + 1;
        try {
            localStorage.setItem(USER, String(made));
        } catch {
            // Then it lasts as long as this page.
        }
    }
    return made;
}

/** Finds out where the place stands, and shows that. */
async function opening(stage) {
    const { sale, signal } = stage;
    if (!stage.concert) return stage.show(choose);
    if (!stage.isSignedIn || !sale.token) return stage.show(intro);
    const standing = await sale.standing({ signal });
    if (standing.status === 'closed') return stage.show(ended, 'closed');
    if (standing.status !== 'active') return stage.show(line);
    stage.turnUntil(standing.endsAt);
    await settled(stage);
    const { holds } = await sale.reservations({ signal });
    return holds.length > 0 ? stage.show(checkout, holds) : stage.show(seats);
}

/** Shows the concert that the address names. */
async function route(stage) {
    stage.say('');
    stage.turnUntil(null);
    const { concerts } = stage.catalogue;
    const named = /^#concert-(\d+)$/.exec(location.hash)?.[1];
    const only = concerts.length === 1 ? concerts[0] : null;
    stage.concert = concerts.find(({ concertId }) => String(concertId) === named) ?? (named ? null : only);
    stage.sale = stage.concert && stage.saleOf(stage.concert);
    await stage.resume(named && !stage.concert ? speech.words().choose.unknown : '');
}

async function start() {
    const stage = new Stage();
    stage.signal = new AbortController().signal;
    stage.frame();
    place.main.replaceChildren(el('p', { class: 'loading' }, speech.words().loading));
    for (;;) {
        try {
            stage.catalogue = await Onsale.catalogue();
            break;
        } catch (error) {
            stage.say(speech.sentence(error));
            await new Promise((done) => setTimeout(done, 3_000));
        }
    }
    stage.frame();
    window.addEventListener('hashchange', () => route(stage));
    await route(stage);
}

start();
