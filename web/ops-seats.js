// What operators do with seats: release people's holds, and withhold seats from the sale.

import { ask, at, attempt, set } from './ops-desk.js';
import { confirmed } from './page/dom.js';

/** As many as the server takes at once. */
const SEATS_MAX = 200;

let concert = null;

/** The seats are those of this concert from now on. */
export function seatsOf(id) {
    concert = id;
    at('seat-date').replaceChildren();
    at('seat-numbers').value = '';
    set('seats-done', '');
    set('withheld-seats', '');
}

/** Shows which seats are withheld; asks for the dates when they are not known yet. */
export async function listWithheld() {
    const of = concert;
    if (at('seat-date').options.length === 0) {
        const { concerts } = await ask('concerts');
        const dates = concerts.find((one) => one.concertId === of)?.dates ?? [];
        if (of !== concert) return;
        at('seat-date').replaceChildren(...dates.map((date) => new Option(date, date)));
    }
    const { dates } = await ask(`admin/withheld?concertId=${of}`);
    if (of !== concert) return;
    const texts = dates.map(({ concertDate, seatNumbers }) => `${concertDate}: ${written(seatNumbers)}`);
    set('withheld-seats', texts.join('; ') || 'none');
}

/** Ascending numbers, as people write them: 1, 3-5. */
export function written(seats) {
    const ranges = [];
    for (const seat of seats) {
        if (ranges.at(-1)?.[1] === seat - 1) ranges.at(-1)[1] = seat;
        else ranges.push([seat, seat]);
    }
    return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
}

/** The numbers that such a text names, each once; an error if it names none. */
export function read(text) {
    const seats = new Set();
    for (const part of text.split(',')) {
        const [, first, last = first] = /^\s*(\d{1,6})(?:\s*-\s*(\d{1,6}))?\s*$/.exec(part) ?? [];
        if (!first || Number(last) < Number(first)) throw new Error('seats are written like 12, 20-25');
        for (let seat = Number(first); seat <= Number(last); seat += 1) {
            if (seats.add(seat).size > SEATS_MAX) throw new Error(`at most ${SEATS_MAX} seats at once`);
        }
    }
    return [...seats].sort((one, other) => one - other);
}

/** Takes seats away from whoever holds them, if that is confirmed. Gives a sentence. */
export async function release(order) {
    const question = `Whoever holds them loses these seats of ${order.concertDate}: ${written(order.seatNumbers)}. That cannot be taken back.`;
    if (!await confirmed(question, 'Take them away', 'Leave them')) return '';
    const { seatNumbers } = await ask('admin/holds', { method: 'DELETE', body: order });
    return seatNumbers.length > 0 ? `Free again: ${written(seatNumbers)}.` : 'Nobody held any of these.';
}

const ways = {
    release,
    withhold: async (order) => {
        const { seatNumbers } = await ask('admin/withheld', { method: 'POST', body: order });
        return `Withheld: ${written(seatNumbers)}.`;
    },
    restore: async (order) => {
        const { seatNumbers } = await ask('admin/withheld', { method: 'DELETE', body: order });
        return seatNumbers.length > 0 ? `On sale again: ${written(seatNumbers)}.` : 'None of these was withheld.';
    },
};

at('seat-choice').addEventListener('submit', (event) => {
    event.preventDefault();
    attempt('seats-done', async () => {
        const order = {
            concertId: concert, concertDate: at('seat-date').value, seatNumbers: read(at('seat-numbers').value),
        };
        const said = await ways[event.submitter.value](order);
        await listWithheld();
        return said;
    });
});
