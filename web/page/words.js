// What the page says, in the language of whoever reads it. The sentences are in `words/`.

import en from './words/en.js';
import ko from './words/ko.js';

const LANGUAGES = { en, ko };
const KEPT = 'onsale:language';

let current = chosen();

function chosen() {
    const kept = keep(() => localStorage.getItem(KEPT));
    const wanted = [kept, ...(navigator.languages ?? [navigator.language])];
    const known = wanted.map((tag) => tag?.slice(0, 2)).find((tag) => tag in LANGUAGES);
    return known ?? 'en';
}

/** A browser may keep nothing. */
function keep(use) {
    try {
        return use();
    } catch {
        return null;
    }
}

/** The language, such as `en`. */
export function language() {
    return current;
}

/** Every language with its own name. */
export function languages() {
    return Object.entries(LANGUAGES).map(([tag, words]) => [tag, words.name]);
}

export function choose(tag) {
    current = tag;
    keep(() => localStorage.setItem(KEPT, tag));
}

/** How the reader's own country writes numbers and dates, if it speaks this language. */
function locale() {
    return navigator.languages?.find((tag) => tag.startsWith(current)) ?? current;
}

/** The sentences of the language. */
export function words() {
    return LANGUAGES[current];
}

/** An error of the client as a sentence; the server's own, where this page has none. */
export function sentence(error) {
    const say = words().problems[error.code];
    if (say) return say({ ...error.about, wait: error.retryAfter });
    const id = error.requestId ? ` (${error.requestId})` : '';
    return `${words().unexpected} ${error.about?.detail ?? error.message ?? ''}${id}`;
}

/** Money, in won. */
export function money(amount) {
    return new Intl.NumberFormat(locale(), { style: 'currency', currency: 'KRW' }).format(amount);
}

export function number(value) {
    return new Intl.NumberFormat(locale()).format(value);
}

/** A date `YYYY-MM-DD`, which is the same day everywhere. */
export function day(date, style = 'full') {
    return new Intl.DateTimeFormat(locale(), { dateStyle: style, timeZone: 'UTC' }).format(new Date(`${date}T00:00Z`));
}

/** A moment, in the reader's own zone. */
export function moment(at) {
    const options = { dateStyle: 'long', timeStyle: 'short' };
    return new Intl.DateTimeFormat(locale(), options).format(new Date(at));
}

/** Numbers as people list them. */
export function list(items) {
    return new Intl.ListFormat(locale(), { type: 'conjunction' }).format(items.map(String));
}

/** Seconds as a clock shows them. */
export function clock(seconds) {
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
    const two = (value) => String(value).padStart(2, '0');
    return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}
