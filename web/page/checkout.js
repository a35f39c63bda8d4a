// Seats that are held: the time left, the wallet, and the payment.

import { sleepAwake } from '../onsale.js';
import { action, countdown, el, setText } from './dom.js';
import { seats } from './seats.js';
import { ticket } from './ticket.js';
import { clock, day, money, words } from './words.js';

/** When a server that does not know what came of a charge is asked again. */
const ASK_AGAIN_AFTER_MS = 2_000;

/** What is held, and what is missing to own it. */
export async function checkout(stage, given) {
    const { concert, sale, signal } = stage;
    const say = words().checkout;
    await settled(stage);
    // Given, or as the server says: this screen is shown again after every change.
    const holds = given ?? (await sale.reservations({ signal })).holds;
    if (holds.length === 0) {
        await stage.show(seats);
        return null;
    }
    const balance = await sale.balance({ signal });
    await stage.look();
    const total = holds.reduce((sum, { price }) => sum + price, 0);
    const missing = Math.max(0, total - balance);

    const release = (hold) => action(say.release, () => stage.act(async () => {
        await sale.release(hold.reservationId);
        await stage.show(checkout);
        stage.tell(say.released(hold.seatNumber));
    }), { class: 'quiet small', 'aria-label': say.releaseLabel(hold.seatNumber) });
    const row = (hold) => el('li', {},
        el('span', {}, el('strong', {}, say.seat(hold.seatNumber)), ' ', el('small', {}, day(hold.concertDate, 'medium'))),
        el('span', { class: 'money' }, money(hold.price)),
        release(hold));

    const charge = action(say.charge(money(missing)), () => stage.act(async () => {
        try {
            const now = await sale.charge(missing);
            await stage.show(checkout);
            stage.tell(say.charged(money(now)));
        } catch (error) {
            if (await sale.unsureCharge() === null) throw error;
            await stage.show(checkout);
        }
    }));
    const pay = action(say.pay(money(total)), () => stage.act(async () => {
        const paid = await sale.pay();
        stage.turnUntil(null);
        await stage.show(ticket, paid);
    }));
    const more = el('button', {
        type: 'button', class: 'quiet', onclick: () => stage.act(() => stage.show(seats, holds[0].concertDate)),
    }, say.more);

    return [
        el('p', { class: 'concert-name' }, concert.name),
        el('h1', {}, say.title),
        timer(stage, holds),
        el('section', { class: 'card' },
            el('ul', { class: 'holds' }, holds.map(row)),
            el('dl', { class: 'sums' },
                el('dt', {}, say.total), el('dd', { class: 'money' }, money(total)),
                el('dt', {}, say.wallet), el('dd', { class: 'money', id: 'wallet' }, money(balance))),
            missing > 0 ? el('p', { class: 'faint' }, say.missing(money(missing))) : null,
            missing > 0 ? charge : pay),
        holds.length < stage.catalogue.maxSeatsPerUser ? more : null,
    ].filter(Boolean);
}

/** Nobody is asked for money again before it is known what came of a charge whose answer was lost. */
export async function settled(stage) {
    const { sale, signal } = stage;
    for (let amount = await sale.unsureCharge(); amount !== null; amount = await sale.unsureCharge()) {
        stage.say(words().checkout.unsure(money(amount)));
        try {
            await sale.settleCharge({ signal });
            // What a charge is answered again is the balance of that moment.
            const balance = await sale.balance({ signal });
            stage.say('');
            stage.tell(words().checkout.charged(money(balance)));
        } catch (error) {
            if (!error.isUnsure && error.status !== 503) throw error;
            await sleepAwake(ASK_AGAIN_AFTER_MS, signal);
        }
    }
}

/** Until the first hold ends. */
function timer(stage, holds) {
    const say = words().checkout;
    const endsAt = Math.min(...holds.map((hold) => hold.endsAt));
    const whole = Math.max(1, ...holds.map(({ expiresIn }) => expiresIn));
    const shown = el('strong', { class: 'clock' });
    const fill = el('span', { class: 'fill' });
    const tick = (left) => {
        setText(shown, clock(left));
        fill.style.width = `${Math.min(100, (100 * left) / whole)}%`;
        box.classList.toggle('urgent', left <= 60);
        if (left === 60) stage.tell(say.untilSoon);
    };
    const box = el('div', { class: 'timer', role: 'timer' },
        el('span', {}, say.until), ' ', shown, el('div', { class: 'track', 'aria-hidden': 'true' }, fill));
    // The server decides whether it has ended: a payment under way may have prolonged it.
    const over = () => setTimeout(() => stage.act(async () => {
        const { holds: left } = await stage.sale.reservations({ signal: stage.signal });
        if (left.length > 0) await stage.show(checkout, left);
        else await stage.resume(say.lapsed);
    }), 1_000);
    countdown(endsAt, stage.signal, tick, over);
    return box;
}
