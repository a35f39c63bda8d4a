// What was bought.

import { others } from './concerts.js';
import { action, el, svg } from './dom.js';
import { line } from './line.js';
import { day, money, words } from './words.js';

/** A ticket for every seat; `balance` is known right after the payment. */
export function ticket(stage, { payments, balance }) {
    const { concert } = stage;
    const say = words().ticket;
    const again = action(say.again, () => stage.act(async () => {
        await stage.sale.join();
        await stage.show(line);
    }), { class: 'quiet' });
    const one = (seat) => el('li', { class: 'ticket' },
        picture(seat.reservationId),
        el('div', { class: 'stub' },
            el('strong', { class: 'ticket-name' }, concert.name),
            el('span', {}, day(seat.concertDate)),
            el('span', { class: 'ticket-seat' }, `${say.seat} `, el('b', {}, String(seat.seatNumber))),
            el('small', {}, say.paid(money(seat.amount), seat.paidAt)),
            el('small', { class: 'id' }, `${say.id} ${seat.reservationId}`)));
    return [
        el('h1', {}, say.title),
        el('p', {}, say.thanks),
        el('ul', { class: 'tickets', 'aria-label': say.mine }, payments.map(one)),
        balance === undefined ? null : el('p', { class: 'faint' }, say.balance(money(balance))),
        el('div', { class: 'row' }, again),
        others(stage),
    ].filter(Boolean);
}

/** A picture of its own for every ticket, drawn from its id: nice to look at, and no proof. */
function picture(id) {
    const bytes = id.replaceAll('-', '').match(/../g).map((pair) => parseInt(pair, 16)).slice(-8);
    const rings = bytes.map((byte, at) => svg('circle', {
        cx: 20 + (byte % 16) * 5, cy: 12 + (byte >> 4) * 5, r: 6 + ((byte * 7 + at * 13) % 26),
        class: at % 3 === 0 ? 'gold' : 'plain',
    }));
    return svg('svg', { viewBox: '0 0 120 100', class: 'picture', 'aria-hidden': 'true', preserveAspectRatio: 'xMidYMid slice' }, rings);
}
