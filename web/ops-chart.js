// Charts of a few series over time, as SVG. Points are [at in ms, value or null], the oldest first.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 600;
const HEIGHT = 150;
/** As many points as a screen can show. */
const POINTS_MAX = 300;

function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
}

/** A number for people: 12,345 or 0.25. */
export function shown(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return '–';
    const digits = Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
    return value.toLocaleString('en', { maximumFractionDigits: digits });
}

/** Of several points in a slot of time the highest: a peak must not vanish. */
function thinned(points, from, to) {
    const slot = Math.max(1000, (to - from) / POINTS_MAX);
    const kept = [];
    let last = -1;
    for (const [at, value] of points) {
        if (at < from) continue;
        const index = Math.floor((at - from) / slot);
        if (index !== last) kept.push([at, value]);
        else if (value !== null && !(kept.at(-1)[1] >= value)) kept.at(-1)[1] = value;
        last = index;
    }
    return { kept, slot };
}

/** A pen that is lifted where there is nothing. */
function path(points, slot, x, y) {
    let pen = '';
    let before = null;
    for (const [at, value] of points) {
        if (value === null) {
            before = null;
            continue;
        }
        const move = before === null || at - before > 5 * slot;
        pen += `${move ? 'M' : 'L'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
        if (move) pen += 'h.1';
        before = at;
    }
    return pen;
}

/**
 * Makes a chart below `parent`; gives what draws it anew.
 *
 * @param {string} title
 * @param {string} unit  behind each number, such as `/s`
 * @param {string[]} names  one for each series, at most three
 */
export function chart(parent, title, unit, names) {
    const figure = document.createElement('figure');
    const caption = document.createElement('figcaption');
    const heading = document.createElement('b');
    heading.textContent = title;
    caption.append(heading);
    const legends = names.map((name, index) => {
        const legend = document.createElement('i');
        legend.className = `s${index}`;
        caption.append(legend);
        return legend;
    });
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('role', 'img');
    for (const share of [0, 0.5, 1]) {
        const height = 1 + share * (HEIGHT - 2);
        element('line', { class: 'grid', x1: 0, x2: WIDTH, y1: height, y2: height }, svg);
    }
    const lines = names.map((_, index) => element('path', { class: `series s${index}` }, svg));
    const scale = document.createElement('div');
    scale.className = 'scale';
    const [left, right] = [document.createElement('span'), document.createElement('span')];
    scale.append(left, right);
    figure.append(caption, svg, scale);
    parent.append(figure);

    return (series, from, to) => {
        const thin = series.map((points) => thinned(points, from, to));
        const values = thin.flatMap(({ kept }) => kept.map(([, value]) => value ?? 0));
        const most = values.reduce((one, other) => Math.max(one, other), 0);
        const top = most || 1;
        const x = (at) => (at - from) / Math.max(1, to - from) * WIDTH;
        const y = (value) => 1 + (1 - value / top) * (HEIGHT - 2);
        const told = names.map((name, index) => {
            lines[index].setAttribute('d', path(thin[index].kept, thin[index].slot, x, y));
            const now = series[index].at(-1)?.[1] ?? null;
            const text = `${name} ${shown(now)}${now === null ? '' : unit}`;
            legends[index].textContent = text;
            return text;
        });
        left.textContent = `${Math.round((to - from) / 60_000)} min ago`;
        right.textContent = `highest ${shown(most)}${unit}, now`;
        svg.setAttribute('aria-label', `${title}: ${told.join(', ')}; highest ${shown(most)}${unit}`);
    };
}
