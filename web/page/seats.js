// The turn: dates, and a map of the seats that changes as others take them.

import { sleepAwake } from '../onsale.js';
import { checkout } from './checkout.js';
import { action, el, setText } from './dom.js';
import { day, list, money, number, words } from './words.js';

/** Seats of one section, in rows of ten: a map that fits a phone. */
const SECTION = 100;
const ROW = 10;
const LOOK_AGAIN_MS = 1_500;

/** Dates, if there are several, and the seats of one. */
export async function seats(stage, wanted = null) {
    const { concert, sale, signal } = stage;
    const say = words().seats;
    const free = await sale.dates({ signal });
    const { holds } = await sale.reservations({ signal });
    await stage.look();
    const name = el('p', { class: 'concert-name' }, concert.name);
    if (free.length === 0) {
        const look = action(say.lookAgain, () => stage.act(() => stage.show(seats)));
        return [name, el('h1', {}, say.title), el('p', { class: 'note' }, say.noDates), look];
    }
    const date = free.includes(wanted) ? wanted : free[0];
    const most = stage.catalogue.maxSeatsPerUser - holds.length;
    const map = new SeatMap(stage, date, most);
    stage.act(() => sale.watchSeats(date, { signal, onSeats: (now) => map.put(now) }));
    return [
        name,
        el('h1', {}, say.titleSeats),
        concert.dates.length > 1 ? dates(stage, free, date) : el('p', { class: 'when' }, day(date)),
        ...map.parts,
    ];
}

function dates(stage, free, chosen) {
    const { concert } = stage;
    const choice = (date) => {
        const isFree = free.includes(date);
        const id = `date-${date}`;
        return el('span', {},
            el('input', {
                type: 'radio', name: 'date', id, value: date, checked: date === chosen, disabled: !isFree,
                onchange: () => stage.act(() => stage.show(seats, date)),
            }),
            el('label', { for: id }, day(date, 'medium'), isFree ? null : el('small', {}, words().seats.full)));
    };
    return el('fieldset', { class: 'dates' }, el('legend', {}, words().seats.date), concert.dates.map(choice));
}

/** The seats of one date. */
class SeatMap {
    #stage;
    #date;
    #most;
    #known = new Set();
    #refused = new Set();
    #free = null;
    #chosen = new Set();
    #section = 0;
    #buttons = new Map();
    #where = el('div', { class: 'where' });
    #choice = el('p', { class: 'choice', role: 'status' });
    #hold;

    constructor(stage, date, most) {
        const say = words().seats;
        this.#stage = stage;
        this.#date = date;
        this.#most = most;
        const sections = Math.ceil(stage.concert.seats / SECTION);
        this.#section = sections > 1 ? null : 0;
        this.#hold = action(say.hold, () => stage.act(() => this.#holdChosen()), { disabled: true });
        this.any = action(say.any, () => this.#chooseAny(), { class: 'quiet' });
        this.#shown();
    }

    get parts() {
        const bar = el('div', { class: 'bar' }, this.#choice, el('div', { class: 'row' }, this.any, this.#hold));
        return [this.#where, bar];
    }

    /** These seats are free now, but for those that a refusal told of and `watchSeats` did not yet. */
    put(free) {
        const first = this.#free === null;
        this.#known = free;
        this.#refused.forEach((seat) => free.has(seat) || this.#refused.delete(seat));
        this.#free = new Set([...free].filter((seat) => !this.#refused.has(seat)));
        const lost = [...this.#chosen].filter((seat) => !free.has(seat));
        lost.forEach((seat) => this.#chosen.delete(seat));
        if (lost.length > 0 && !this.#isHolding) this.#stage.say(words().seats.lost(list(lost)));
        if (first || this.#section === null) this.#draw();
        else this.#buttons.forEach((button, seat) => this.#paint(button, seat));
        this.#shown();
    }

    #isHolding = false;

    async #holdChosen() {
        const wanted = [...this.#chosen].sort((one, other) => one - other);
        // What this browser takes itself is not taken by somebody else.
        this.#isHolding = true;
        try {
            await this.#stage.sale.hold(this.#date, wanted);
        } catch (error) {
            const { seatNumber } = error.about ?? {};
            this.#chosen.delete(seatNumber);
            if (seatNumber) {
                this.#refused.add(seatNumber);
                this.put(this.#known);
                this.#lookAtRefused().catch((failure) => this.#stage.failed(failure));
            }
            this.#isHolding = false;
            throw error;
        }
        const { holds } = await this.#stage.sale.reservations();
        await this.#stage.show(checkout, holds);
    }

    /**
     * Until nobody knows better: a seat that is taken and given back between two of the server's looks
     * is no change to it, and is told by nobody.
     */
    async #lookAtRefused() {
        const { sale, signal } = this.#stage;
        while (this.#refused.size > 0) {
            await sleepAwake(LOOK_AGAIN_MS, signal);
            const free = await sale.seats(this.#date, { signal });
            free.forEach((seat) => this.#refused.delete(seat));
            this.put(this.#known);
        }
    }

    /** The first free seat of the section that is looked at; of none, of the emptiest. */
    #chooseAny() {
        const { seats: all } = this.#stage.concert;
        const rest = [...(this.#free ?? [])].filter((seat) => !this.#chosen.has(seat)).sort((one, other) => one - other);
        if (this.#section === null && rest.length > 0) {
            const counts = Array.from({ length: Math.ceil(all / SECTION) }, (_, section) => this.#freeOf(section).length);
            this.#section = counts.indexOf(Math.max(...counts));
            this.#draw();
        }
        const here = rest.find((seat) => this.#section === sectionOf(seat)) ?? rest[0];
        if (here !== undefined) this.#toggle(here);
    }

    #toggle(seat) {
        const say = words().seats;
        this.#stage.say('');
        if (this.#chosen.has(seat)) this.#chosen.delete(seat);
        else if (!this.#free.has(seat)) return;
        else if (this.#chosen.size >= this.#most) {
            this.#stage.say(say.most(this.#stage.catalogue.maxSeatsPerUser));
            return;
        } else this.#chosen.add(seat);
        if (this.#buttons.has(seat)) this.#paint(this.#buttons.get(seat), seat);
        this.#shown();
    }

    /** What is chosen, and whether it can be held. */
    #shown() {
        const say = words().seats;
        const chosen = [...this.#chosen].sort((one, other) => one - other);
        const price = money(chosen.length * this.#stage.concert.price);
        const text = chosen.length > 0 ? say.chosen(chosen.length, list(chosen), price) : say.none(this.#most);
        setText(this.#choice, text);
        this.#hold.disabled = chosen.length === 0;
    }

    #draw() {
        const focused = Number(document.activeElement?.dataset?.seat ?? document.activeElement?.dataset?.section);
        const isSeat = document.activeElement?.dataset?.seat !== undefined;
        this.#buttons.clear();
        const shown = this.#section === null ? this.#sections() : this.#seats();
        this.#where.replaceChildren(...shown);
        const name = isSeat ? 'seat' : 'section';
        this.#where.querySelector(`[data-${name}="${focused}"]`)?.focus();
    }

    #freeOf(section) {
        return [...(this.#free ?? [])].filter((seat) => sectionOf(seat) === section);
    }

    #bounds(section) {
        return [section * SECTION + 1, Math.min((section + 1) * SECTION, this.#stage.concert.seats)];
    }

    #sections() {
        const say = words().seats;
        const counts = new Array(Math.ceil(this.#stage.concert.seats / SECTION)).fill(0);
        for (const seat of this.#free) counts[sectionOf(seat)] += 1;
        const choice = (free, section) => {
            const [first, last] = this.#bounds(section);
            const level = Math.ceil((4 * free) / (last - first + 1));
            const open = () => {
                this.#section = section;
                this.#draw();
                this.#focusFirst();
            };
            return el('li', {}, el('button', {
                type: 'button', class: `section level-${level}`, 'data-section': section,
                disabled: free === 0, onclick: open, 'aria-label': say.section(first, last, free),
            }, el('strong', {}, say.sectionShort(first, last)), el('small', {}, say.freeShort(number(free)))));
        };
        return [el('h2', {}, say.sections), el('ul', { class: 'sections' }, counts.map(choice))];
    }

    #seats() {
        const say = words().seats;
        const [first, last] = this.#bounds(this.#section);
        const numbers = Array.from({ length: last - first + 1 }, (_, at) => first + at);
        const grid = el('div', { class: 'map', role: 'group', 'aria-label': say.map(first, last), onkeydown: (event) => this.#move(event) });
        numbers.forEach((seat, at) => {
            const button = el('button', {
                type: 'button', 'data-seat': seat, tabindex: at === 0 ? 0 : -1, onclick: () => this.#toggle(seat),
            }, String(seat));
            this.#buttons.set(seat, button);
            this.#paint(button, seat);
            grid.append(button);
        });
        const isAlone = this.#stage.concert.seats <= SECTION;
        const back = el('button', {
            type: 'button', class: 'quiet', onclick: () => {
                this.#section = null;
                this.#draw();
                this.#where.querySelector('button:not([disabled])')?.focus();
            },
        }, `← ${say.back}`);
        const legend = el('ul', { class: 'legend', 'aria-hidden': 'true' },
            Object.entries(say.states).map(([state, name]) => el('li', {}, el('span', { class: `key ${state}` }), name)));
        return [isAlone ? null : back, el('p', { class: 'stage', 'aria-hidden': 'true' }, say.stage), grid, legend].filter(Boolean);
    }

    #paint(button, seat) {
        const say = words().seats;
        const state = this.#chosen.has(seat) ? 'chosen' : this.#free.has(seat) ? 'free' : 'taken';
        if (button.dataset.state === state) return;
        button.dataset.state = state;
        button.setAttribute('aria-pressed', String(state === 'chosen'));
        button.setAttribute('aria-disabled', String(state === 'taken'));
        button.setAttribute('aria-label', say.seat(seat, say.states[state]));
    }

    #focusFirst() {
        const [first] = this.#freeOf(this.#section).sort((one, other) => one - other);
        this.#focus(this.#buttons.get(first) ?? this.#buttons.values().next().value);
    }

    /** Arrow keys, Home and End move among the seats; only one of them is in the order of Tab. */
    #move(event) {
        const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -ROW, ArrowDown: ROW };
        const seat = Number(event.target.dataset.seat);
        const [first, last] = this.#bounds(this.#section);
        const to = { Home: first, End: last }[event.key] ?? seat + (steps[event.key] ?? 0);
        if (to === seat || !this.#buttons.has(to)) return;
        event.preventDefault();
        this.#focus(this.#buttons.get(to));
    }

    #focus(button) {
        this.#buttons.forEach((other) => other.setAttribute('tabindex', other === button ? 0 : -1));
        button?.focus();
    }
}

function sectionOf(seat) {
    return Math.floor((seat - 1) / SECTION);
}
