// In line: where one stands, how long it may take, and what the organisers say; and its ends.

import { others } from './concerts.js';
import { action, countdown, el, setText } from './dom.js';
import { seats } from './seats.js';
import { clock, number, words } from './words.js';

/** How often a screen reader is told a position: each change would be chatter. */
const TELL_EVERY_MS = 30_000;

/** The wait, and then the turn. */
export async function line(stage) {
    const { sale, signal } = stage;
    stage.turnUntil(null);
    const board = new Board(stage);
    const first = await sale.standing({ signal });
    board.put(first);
    // It goes on beside the screen.
    wait(stage, board);
    return board.parts;
}

async function wait(stage, board) {
    const { sale, signal } = stage;
    await stage.act(async () => {
        const standing = await sale.wait({ signal, onStanding: (now) => board.put(now) });
        if (standing.status === 'closed') {
            await stage.show(ended, 'closed');
            return;
        }
        // Whoever looks at another tab sees this.
        document.title = `● ${words().line.turn} · ${stage.concert.name}`;
        navigator.vibrate?.(200);
        stage.turnUntil(standing.endsAt);
        await stage.show(seats);
        stage.tell(words().line.turn);
    });
}

/** What is seen of a standing. */
class Board {
    #stage;
    #opening = new AbortController();
    #told = { at: 0, status: null };
    #title = el('h1');
    #label = el('p', { class: 'label' });
    #number = el('p', { class: 'position' });
    #ahead = el('p', { class: 'ahead' });
    #fill = el('span', { class: 'fill' });
    #track = el('div', { class: 'track', role: 'progressbar', 'aria-valuemin': 0, 'aria-valuemax': 100 }, this.#fill);
    #wait = el('p', { class: 'wait' });
    #honest = el('p', { class: 'faint' });
    #message = el('div', { class: 'note message', role: 'status', hidden: true });
    #keep = el('p', { class: 'faint' });

    constructor(stage) {
        this.#stage = stage;
        const say = words().line;
        this.#track.setAttribute('aria-label', say.progress);
        this.leave = action(say.leave, () => stage.act(async () => {
            if (!await stage.confirmed(say.sure, say.leave, say.stay)) return;
            await stage.sale.leave();
            await stage.show(ended, 'left');
        }), { class: 'quiet' });
    }

    get parts() {
        const card = el('section', { class: 'card board' },
            this.#label, this.#number, this.#ahead, this.#track, this.#wait, this.#honest);
        return [
            el('p', { class: 'concert-name' }, this.#stage.concert.name),
            this.#title, this.#message, card, this.#keep, this.leave,
        ];
    }

    put(standing) {
        this.#opening.abort();
        const say = words().line;
        const { status, message } = standing;
        const [shown, told] = {
            prequeue: () => this.#prequeue(standing, say),
            'sold-out': () => this.#soldOut(standing, say),
        }[status]?.() ?? this.#waiting(standing, say);
        setText(this.#title, shown);
        this.#message.hidden = !message;
        if (message) this.#message.replaceChildren(el('strong', {}, say.message), el('p', {}, message));
        this.#tell(status, told);
        document.title = `${told} · ${this.#stage.concert.name}`;
    }

    #waiting({ queuePosition, estimatedWaitTime }, say) {
        const ahead = Math.max(0, queuePosition - 1);
        const before = Math.max(1, this.#stage.sale.firstPosition ?? queuePosition);
        const way = queuePosition === 0 ? 100 : Math.round(100 * Math.max(0, 1 - queuePosition / (before + 1)));
        setText(this.#label, say.position);
        setText(this.#number, number(queuePosition));
        setText(this.#ahead, say.ahead(ahead, number(ahead)));
        this.#progress(way);
        setText(this.#wait, spoken(estimatedWaitTime, say.wait));
        setText(this.#honest, say.honest);
        setText(this.#keep, say.keep);
        return [say.title, `${say.position} ${number(queuePosition)}`];
    }

    #prequeue({ queuePosition, opensIn = 0 }, say) {
        this.#opening = new AbortController();
        this.#stage.signal.addEventListener('abort', () => this.#opening.abort());
        setText(this.#label, say.opensIn);
        countdown(Date.now() + opensIn * 1_000, this.#opening.signal, (left) => setText(this.#number, clock(left)));
        setText(this.#ahead, say.come(queuePosition, number(queuePosition)));
        this.#progress(0);
        setText(this.#wait, '');
        setText(this.#honest, say.prequeueKeep);
        setText(this.#keep, say.keep);
        return [say.prequeue, say.prequeue];
    }

    #soldOut({ heldSeats = 0, queuePosition }, say) {
        setText(this.#label, say.position);
        setText(this.#number, number(queuePosition));
        setText(this.#ahead, heldSeats > 0 ? say.heldSeats(heldSeats, number(heldSeats)) : say.noneHeld);
        this.#progress(null);
        for (const part of [this.#wait, this.#honest, this.#keep]) setText(part, '');
        return [say.soldOut, say.soldOut];
    }

    #progress(percent) {
        this.#track.hidden = percent === null;
        this.#track.setAttribute('aria-valuenow', percent ?? 0);
        // Not an attribute `style`, which the policy of this page forbids.
        this.#fill.style.width = `${Math.max(percent ?? 0, 2)}%`;
    }

    #tell(status, text) {
        const isNews = status !== this.#told.status || Date.now() - this.#told.at > TELL_EVERY_MS;
        if (!isNews) return;
        this.#told = { at: Date.now(), status };
        this.#stage.tell(text);
    }
}

/** An estimate as one would say it: it is no more exact than that. */
function spoken(seconds, say) {
    const minutes = Math.round(seconds / 60);
    // A day is the most that the server says: the line stands still.
    if (seconds >= 86_400) return say.unknown;
    if (seconds < 20) return say.seconds;
    if (minutes <= 1) return say.minute;
    if (minutes < 60) return say.minutes(minutes);
    return say.hours(Math.floor(minutes / 60), minutes % 60);
}

/** An end of the place: why, and how to go on. */
export function ended(stage, why) {
    const say = words().ended;
    const [title, text] = say[why];
    stage.turnUntil(null);
    const isAway = why === 'away';
    // A token that has ended is of no use; one that nobody could ask about may be.
    if (!isAway) stage.sale?.forget();
    const again = action(isAway ? say.look : say.again, () => stage.act(async () => {
        if (!isAway) await stage.sale.join();
        await stage.resume();
    }));
    return [el('h1', {}, title), el('p', {}, text), again, others(stage)].filter(Boolean);
}
