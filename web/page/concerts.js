// Before the line: which concert, and what will happen.

import { action, el } from './dom.js';
import { line } from './line.js';
import { day, list, moment, money, number, words } from './words.js';

/** All concerts. */
export function choose(stage) {
    const say = words().choose;
    const card = (concert) => {
        const hasPlace = stage.isSignedIn && stage.saleOf(concert).token;
        return el('li', {}, el('a', { class: 'card concert', href: `#concert-${concert.concertId}` },
            el('strong', {}, concert.name),
            el('span', { class: 'faint' }, datesOf(concert)),
            el('span', { class: 'faint' }, `${say.seats(number(concert.seats), concert.dates.length)} · ${money(concert.price)}`),
            hasPlace ? el('span', { class: 'badge' }, say.place) : null));
    };
    return [el('h1', {}, say.title), el('ul', { class: 'concerts' }, stage.catalogue.concerts.map(card))];
}

function datesOf({ dates }) {
    if (dates.length <= 3) return list(dates.map((date) => day(date, 'long')));
    return `${day(dates[0], 'long')} – ${day(dates.at(-1), 'long')}`;
}

/** One concert, before somebody joins its line. */
export function intro(stage) {
    const { concert, sale } = stage;
    const say = words().intro;
    const opens = concert.opensAt && new Date(concert.opensAt) > new Date();
    const join = action(say.join, () => stage.act(async () => {
        await sale.join({ signal: stage.signal });
        await stage.show(line);
    }));
    return [
        el('h1', {}, concert.name),
        el('p', { class: 'when' }, datesOf(concert)),
        el('p', { class: 'faint' },
            `${words().choose.seats(number(concert.seats), concert.dates.length)} · ${say.price(money(concert.price))}`),
        opens ? el('p', {}, say.opens(moment(concert.opensAt))) : null,
        el('ol', { class: 'steps' }, say.steps.map((step) => el('li', {}, step))),
        stage.isSignedIn ? join : el('p', { class: 'note' }, say.signIn),
        others(stage),
    ].filter(Boolean);
}

/** The way back to all concerts, if there are several. */
export function others(stage) {
    if (stage.catalogue.concerts.length === 1) return null;
    return el('p', {}, el('a', { class: 'quiet', href: '#' }, words().intro.other));
}
