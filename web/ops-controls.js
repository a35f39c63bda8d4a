// What operators change of a line: settings, in force on all servers within a second, and clearing it.

import { shown } from './ops-chart.js';
import { ask, at, attempt, set } from './ops-desk.js';
import { moment } from './ops-figures.js';
import { confirmed } from './page/dom.js';

let concert = null;
let waiting = 0;

/** The controls are of this concert from now on. */
export function control(id) {
    concert = id;
    for (const form of ['capacity', 'batch', 'message', 'beacon']) at(`new-${form}`).value = '';
    set('done', '');
}

/** Shows the settings of the concert as they are. */
export function renderSettings(one) {
    waiting = one.waiting;
    at('state').classList.toggle('paused', one.paused);
    set('state', one.paused ? 'Paused: nobody is let in' : 'People are let in');
    set('pause', one.paused ? 'Resume' : 'Pause');
    set('message', one.message ?? '');
    set('opens', one.opensAt ? `Opens ${moment(one.opensAt)}.` : 'Open from the start.');
    set('closes', one.closesAt ? `Closes ${moment(one.closesAt)}.` : 'Never closes.');
    at('new-capacity').placeholder = String(one.capacity);
    at('new-batch').placeholder = String(one.batch);
    at('set-beacon').hidden = !one.beaconAwaited;
    set('beacon-round', one.beaconAwaited ?? '');
}

/** What an operator did, in words. */
function told({ action, setting, before, after, left, concertDate, seatNumber, userId }) {
    if (action === 'cleared') return `cleared the line: ${left} lost their place`;
    if (action === 'released') return `released seat ${seatNumber} of ${concertDate}, held by user ${userId}`;
    if (setting === 'withheld') return after ? `withheld ${after}` : `on sale again ${before}`;
    return `${setting}: ${before ?? 'as configured'} → ${after ?? 'as configured'}`;
}

/** Shows what was done of late. */
export async function listChanges() {
    const of = concert;
    const { entries } = await ask(`admin/audit?concertId=${of}`);
    if (of !== concert) return;
    at('audit').replaceChildren(...entries.slice(0, 20).map((entry) => {
        const item = document.createElement('li');
        const time = document.createElement('time');
        time.dateTime = entry.at;
        time.textContent = new Date(entry.at).toLocaleTimeString('en-GB');
        item.append(time, ` ${told(entry)}`);
        return item;
    }));
}

function configure(settings, done) {
    return attempt('done', async () => {
        renderSettings(await ask('admin/concerts', { method: 'PATCH', body: { concertId: concert, ...settings } }));
        await listChanges();
        return done;
    });
}

at('pause').addEventListener('click', () => {
    const pause = at('pause').textContent === 'Pause';
    configure({ paused: pause }, pause ? 'Paused.' : 'Resumed.');
});

for (const setting of ['capacity', 'batch', 'message']) {
    const input = at(`new-${setting}`);
    const [put, removed] = setting === 'message'
        ? [() => 'The message is shown.', 'The message is gone.']
        : [(value) => `${setting} is ${shown(value)}.`, `${setting} is as configured.`];
    at(`set-${setting}`).addEventListener('submit', async (event) => {
        event.preventDefault();
        const value = setting === 'message' ? input.value : Number(input.value);
        if (await configure({ [setting]: value }, put(value))) input.value = '';
    });
    document.querySelector(`[data-remove="${setting}"]`).addEventListener('click', () => {
        configure({ [setting]: null }, removed);
    });
}

for (const [setting, verb, question] of [
    ['opensAt', 'Open', 'The sale opens now: people are let in, and a lottery is drawn. That cannot be taken back.'],
    ['closesAt', 'Close', null],
]) {
    document.querySelector(`[data-now="${setting}"]`).addEventListener('click', async () => {
        if (question && !await confirmed(question, `${verb} the sale`, 'Not yet')) return;
        configure({ [setting]: 'now' }, `${verb === 'Open' ? 'Opened' : 'Closed'}.`);
    });
    document.querySelector(`[data-remove="${setting}"]`).addEventListener('click', () => {
        configure({ [setting]: null }, `${setting} is as configured.`);
    });
}

at('set-beacon').addEventListener('submit', async (event) => {
    event.preventDefault();
    const beacon = at('new-beacon').value.trim();
    const question = `The order of everybody is made with the value ${beacon}, for good. It must be that of ${at('beacon-round').textContent}.`;
    if (!await confirmed(question, 'Make the order', 'Not yet')) return;
    if (await configure({ beacon }, 'The order is made with this value.')) at('new-beacon').value = '';
});

at('clear').addEventListener('click', async () => {
    const question = `Everybody who waits loses the place: ${shown(waiting)} people. That cannot be taken back.`;
    if (!await confirmed(question, 'Send everybody away', 'Keep the line')) return;
    attempt('done', async () => {
        const { left } = await ask('admin/waiting', { method: 'DELETE', body: { concertId: concert } });
        await listChanges();
        return `The line is cleared: ${shown(left)} people were sent away.`;
    });
});
