// Making elements. Text is always text: nothing here, or anywhere on this page, is read as HTML.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * An element; `attributes` that start with `on` are listeners, `true` is an attribute without a
 * value, and false, null and undefined are none.
 */
export function el(name, attributes = {}, ...children) {
    return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
    return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
        else if (value === true) element.setAttribute(name, '');
        else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
}

/** Replaces the text of an element, if it is another: a screen reader is told changes only. */
export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

/** A button whose work is shown, and done once at a time. */
export function action(label, work, attributes = {}) {
    const button = el('button', { type: 'button', class: 'primary', ...attributes }, label);
    button.addEventListener('click', async () => {
        if (button.getAttribute('aria-busy') === 'true') return;
        button.setAttribute('aria-busy', 'true');
        try {
            await work();
        } finally {
            button.removeAttribute('aria-busy');
        }
    });
    return button;
}

/** Asks yes or no in a dialog; whether it was yes. */
export function confirmed(question, yes, no) {
    return new Promise((decided) => {
        const dialog = el('dialog', { 'aria-labelledby': 'question' });
        const close = (answer) => () => dialog.close(answer);
        dialog.append(
            el('p', { id: 'question' }, question),
            el('div', { class: 'row' },
                el('button', { type: 'button', class: 'quiet', autofocus: true, onclick: close('no') }, no),
                el('button', { type: 'button', class: 'primary', onclick: close('yes') }, yes)),
        );
        dialog.addEventListener('close', () => {
            dialog.remove();
            decided(dialog.returnValue === 'yes');
        });
        document.body.append(dialog);
        dialog.showModal();
    });
}

/** Calls `tick` with the seconds left until `endsAt` (ms), every second, and `end` once at zero. */
export function countdown(endsAt, signal, tick, end = () => {}) {
    let timer;
    const look = () => {
        if (signal.aborted) return;
        const left = endsAt - Date.now();
        tick(Math.max(0, Math.ceil(left / 1_000)));
        if (left <= 0) end();
        // Not an interval: it would run on after sleep, late for good.
        else timer = setTimeout(look, Math.min(left, (left % 1_000) || 1_000) + 5);
    };
    // Timers stand still in sleep.
    const wake = () => {
        clearTimeout(timer);
        look();
    };
    document.addEventListener('visibilitychange', wake, { signal });
    signal.addEventListener('abort', () => clearTimeout(timer));
    look();
}
