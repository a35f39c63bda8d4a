// What the numbers of a server and of a sale mean: rates, quantiles, waits. No document here.

/** Over how long a rate is taken. */
const RATE_MS = 5_000;

/** The rows of a sale, by name. */
export class Series {
    #fields = [];
    rows = [];

    /** Takes what `GET admin/series` answered. */
    add({ fields, rows }) {
        this.#fields = fields;
        for (const row of rows) {
            if (row[0] > (this.rows.at(-1)?.[0] ?? 0)) this.rows.push(row);
        }
        const first = this.rows.findIndex(([at]) => at > this.rows.at(-1)[0] - 3_600_000);
        if (first > 0) this.rows.splice(0, first);
    }

    get newest() {
        return this.rows.at(-1)?.[0] ?? 0;
    }

    #column(name) {
        return this.#fields.indexOf(name);
    }

    /** A field over time. */
    points(name) {
        const column = this.#column(name);
        return this.rows.map((row) => [row[0], row[column] ?? null]);
    }

    /** What happened per second, from a counter. A counter that starts anew says nothing. */
    rates(name) {
        const column = this.#column(name);
        let from = 0;
        return this.rows.map((row, index) => {
            while (from < index - 1 && this.rows[from + 1][0] <= row[0] - RATE_MS) from += 1;
            const before = this.rows[from];
            const seconds = (row[0] - before[0]) / 1000;
            const count = row[column] - before[column];
            const known = seconds > 0 && seconds < 60 && count >= 0;
            return [row[0], known ? count / seconds : null];
        });
    }

    /**
     * For each row, how long whoever is next has waited by then, and what they were told when they
     * came, in seconds: they came in the first row whose last place is as high as the head.
     */
    waits() {
        const [last, head, estimate] = ['last', 'head', 'estimate'].map((name) => this.#column(name));
        let came = 0;
        return this.rows.map((row) => {
            if (row[head] === null) return { at: row[0], waited: null, told: null };
            // A line that starts anew, or numbers that were lost.
            if (this.rows[came]?.[last] > row[last]) came = 0;
            while (came < this.rows.length && !(this.rows[came][last] >= row[head])) came += 1;
            // Those who came before the first row came at a time that nobody knows.
            const arrival = came > 0 ? this.rows[came] : undefined;
            if (!arrival || arrival[0] > row[0]) return { at: row[0], waited: null, told: null };
            return { at: row[0], waited: (row[0] - arrival[0]) / 1000, told: arrival[estimate] };
        });
    }
}

/** The duration in seconds that a share of the counts did not exceed, between two bounds in a straight line. */
export function quantile(share, counts, bounds) {
    const all = counts.reduce((one, other) => one + other, 0);
    if (all === 0) return null;
    let below = 0;
    for (let index = 0; index < bounds.length; index += 1) {
        if (counts[index] > 0 && below + counts[index] >= share * all) {
            const low = index === 0 ? 0 : bounds[index - 1];
            return low + (bounds[index] - low) * (share * all - below) / counts[index];
        }
        below += counts[index];
    }
    return bounds.at(-1);
}

/** What became of counts that only grow since an earlier look; all of them if there was none. */
export function since(now, before) {
    return before ? now.map((count, index) => count - (before[index] ?? 0)) : now;
}

/** Seconds for people: 850 µs, 12 ms, 3.4 s, 12 min. */
export function duration(seconds) {
    if (seconds === null || seconds === undefined) return '–';
    if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
    if (seconds < 1) return `${Math.round(seconds * 1e3)} ms`;
    if (seconds < 120) return `${Math.round(seconds * 10) / 10} s`;
    return seconds < 86_400 ? `${Math.round(seconds / 60)} min` : 'not known';
}

/** A moment of the server, by the clock of whoever looks. */
export function moment(text) {
    return new Date(text).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
}
