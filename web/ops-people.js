// Looking somebody up: what is known of a user, or of a token.

import { shown } from './ops-chart.js';
import { ask, at, attempt, set } from './ops-desk.js';
import { duration, moment } from './ops-figures.js';
import { release } from './ops-seats.js';
import { el } from './page/dom.js';

let concert = null;
/** Whom one looks at: the question, to ask it again. */
let asked = null;

/** Users are looked up in this concert from now on. */
export function peopleOf(id) {
    concert = id;
    asked = null;
    at('person').replaceChildren();
    set('found', '');
}

const STANDINGS = {
    prequeue: ({ opensIn }) => `waits for the opening in ${duration(opensIn)}`,
    waiting: ({ queuePosition, estimatedWaitTime }) => `waits at position ${shown(queuePosition)}, for about ${duration(estimatedWaitTime)}`,
    active: () => 'is inside',
    'sold-out': () => 'waits, and everything is sold',
    closed: () => 'waits, and the sale is over',
};

function standing({ place, standing: now, claimed, activeUntil }) {
    if (place === null) return 'has no place here';
    if (!now) return 'has no live place any more';
    const until = activeUntil ? ` until ${moment(activeUntil)}${claimed ? '' : ', and has not come in yet'}` : '';
    return STANDINGS[now.status](now) + until;
}

function held(hold, person) {
    const text = `${hold.concertDate}, seat ${hold.seatNumber}, until ${moment(hold.expireAt)} `;
    const take = () => attempt('found', async () => {
        const { concertId, concertDate, seatNumber } = hold;
        const said = await release({ concertId, concertDate, seatNumbers: [seatNumber] });
        if (said) await look();
        return said || whose(person);
    });
    return el('li', {}, text, el('button', { type: 'button', onclick: take }, `Release seat ${hold.seatNumber}`));
}

const whose = ({ userId, concertId }) => (userId === null ? `Nobody is known, of concert ${concertId}.` : `User ${userId}, concert ${concertId}.`);

function render(person) {
    const list = (items, none) => (items.length > 0 ? el('ul', {}, items) : none);
    const owned = person.owned.map((seat) => el('li', {}, `${seat.concertDate}, seat ${seat.seatNumber}, of concert ${seat.concertId}, paid ${moment(seat.paidAt)}`));
    const facts = [
        ['Line', standing(person)],
        ['Holds', list(person.holds.map((hold) => held(hold, person)), 'none')],
        ['Owns', list(owned, 'nothing')],
        ['Balance', person.balance === null ? 'not known' : shown(person.balance)],
    ];
    at('person').replaceChildren(...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
    return whose(person);
}

async function look() {
    return render(await ask(`admin/people?${asked}`));
}

at('find').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = at('whom').value.trim();
    const isUser = /^\d+$/.test(text);
    asked = new URLSearchParams(isUser ? { concertId: concert, userId: text } : { token: text });
    at('person').replaceChildren();
    attempt('found', look);
});
