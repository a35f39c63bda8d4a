// The operators' dashboard: asks one server once a second, and shows what it says.

import { chart, shown } from './ops-chart.js';
import { control, listChanges, renderSettings } from './ops-controls.js';
import { ask, at, door, session, set } from './ops-desk.js';
import { Series, duration, quantile, since } from './ops-figures.js';
import { peopleOf } from './ops-people.js';
import { listWithheld, seatsOf } from './ops-seats.js';

const EVERY_MS = 1_000;
/** Over how long rates and quantiles of a server are taken. */
const WINDOW_MS = 10_000;
/** What changes seldom is asked for in every so many turns. */
const SELDOM = 10;

let concert = null;
let series = new Series();
/** Earlier looks at servers: when, and what the one that answered said. */
let looks = [];
let timer = null;
let turns = 0;

// Who may look.

function show(signedIn) {
    at('enter').hidden = signedIn;
    at('board').hidden = !signedIn;
    at('leave').hidden = !signedIn;
    at('span-choice').hidden = !signedIn;
    if (!signedIn) {
        at('choice').hidden = true;
        at('token').focus();
    }
}

door.leave = (why) => {
    clearTimeout(timer);
    session.forget();
    looks = [];
    change(null);
    show(false);
    set('link', 'Not signed in');
    set('refusal', why);
};

at('enter').addEventListener('submit', async (event) => {
    event.preventDefault();
    session.token = at('token').value.trim();
    try {
        await ask('admin/concerts');
    } catch (error) {
        // Only a wrong token is a reason not to look; a store that is away is one to look.
        const isWrong = !(error.status >= 500);
        if (isWrong) {
            session.token = null;
            set('refusal', error.isSignedOut ? 'This is not the token of this server.' : `Not done: ${error.message}.`);
            return;
        }
    }
    session.keep();
    at('token').value = '';
    set('refusal', '');
    begin();
});
at('leave').addEventListener('click', () => door.leave(''));

// Once a second.

function begin() {
    show(true);
    turns = 0;
    turn();
}

async function turn() {
    clearTimeout(timer);
    const asked = session.token;
    const began = performance.now();
    try {
        const view = await ask('admin/dashboard');
        if (asked !== session.token) return;
        choose(view.sales, view.concerts);
        const of = concert;
        if (of !== null) {
            const after = series.newest ? `&after=${series.newest}` : '';
            const rows = await perhaps(ask(`admin/series?concertId=${of}${after}`));
            if (asked !== session.token) return;
            if (rows && of === concert) series.add(rows);
            if (turns % SELDOM === 0) await perhaps(Promise.all([listChanges(), listWithheld()]));
        }
        turns += 1;
        render(view);
        at('link').classList.remove('lost');
        set('link', `Live, server ${view.server.id}, version ${view.server.version}`);
    } catch (error) {
        if (asked !== session.token) return;
        if (error.isSignedOut) {
            door.leave('The token is not accepted any more.');
            return;
        }
        at('link').classList.add('lost');
        set('link', `No answer since ${new Date().toLocaleTimeString('en-GB')}: ${error.message}`);
    }
    timer = setTimeout(turn, Math.max(100, EVERY_MS - (performance.now() - began)));
}

/** What may fail while a store is away, and is asked again soon. */
function perhaps(answer) {
    return answer.catch((error) => {
        if (error.isSignedOut) throw error;
        return null;
    });
}

function choose(sales, concerts) {
    const select = at('concert');
    const names = new Map(concerts.map((one) => [one.concertId, one.name]));
    const ids = sales.map((sale) => sale.concertId);
    const labels = ids.map((id) => `${id} ${names.get(id) ?? ''}`.trim());
    const known = [...select.options].map((option) => option.textContent);
    if (ids.length !== known.length || (concerts.length && labels.some((label, n) => label !== known[n]))) {
        select.replaceChildren(...ids.map((id, n) => {
            const option = document.createElement('option');
            option.value = String(id);
            option.textContent = labels[n];
            option.selected = id === concert;
            return option;
        }));
    }
    at('choice').hidden = ids.length < 2;
    if (!ids.includes(concert)) change(ids[0] ?? null);
}

function change(id) {
    concert = id;
    series = new Series();
    turns = 0;
    for (const of of [control, seatsOf, peopleOf]) of(id);
}

at('concert').addEventListener('change', () => {
    change(Number(at('concert').value));
    turn();
});
at('span').addEventListener('change', () => drawCharts());

// What is shown.

function render(view) {
    const one = view.concerts.find((other) => other.concertId === concert);
    const sale = view.sales.find((other) => other.concertId === concert);
    const sample = sale?.sample;
    const value = (live, sampled) => shown(live ?? sampled ?? null);
    set('waiting', value(one?.waiting, sample?.waiting));
    set('active', value(one?.active, sample?.active));
    set('capacity', value(one?.capacity));
    set('held', value(sample?.held));
    set('withheld', value(one?.withheld, sample?.withheld));
    set('sold', value(one?.sold, sample?.sold));
    set('seats', value(one?.seats));
    for (const counter of ['issued', 'promoted', 'polls', 'consumed']) {
        set(counter, shown(series.rates(counter).at(-1)?.[1] ?? null));
    }
    set('estimate', duration(sample?.estimate));
    const wait = series.waits().at(-1);
    set('waited', duration(wait?.waited));
    set('told', duration(wait?.told));
    set('servers', shown(sample?.servers ?? null));
    if (one) renderSettings(one);
    renderFaults(view.server, sale, one);
    drawCharts();
    renderServer(view.server);
}

function renderFaults(server, sale, one) {
    const faults = [...server.missing];
    const limits = { 'queue.promote': 5, 'ops.sample': 5 };
    for (const [job, age] of Object.entries(server.jobs)) {
        if (age > (limits[job] ?? 30)) faults.push(`${job} has not succeeded for ${duration(age)}`);
    }
    if (sale && !sale.sample) faults.push('there are no numbers of this sale now');
    if (one?.missedLottery) faults.push('the lottery was missed: whoever came first is served first');
    const list = at('faults');
    const before = [...list.children].map((item) => item.textContent);
    if (faults.join('\n') === before.join('\n')) return;
    list.replaceChildren(...faults.map((fault) => {
        const item = document.createElement('li');
        item.textContent = fault;
        return item;
    }));
}

const charts = [
    ['Line', '', ['waiting', 'active'], (all) => [all.points('waiting'), all.points('active')]],
    ['Seats', '', ['held', 'sold'], (all) => [all.points('held'), all.points('sold')]],
    ['People', ' /s', ['arrivals', 'promotions', 'payments'],
        (all) => ['issued', 'promoted', 'consumed'].map((name) => all.rates(name))],
    ['Holds', ' /s', ['new', 'lapsed', 'released'],
        (all) => ['holds', 'lapsed', 'released'].map((name) => all.rates(name))],
    ['Polls', ' /s', ['polls'], (all) => [all.rates('polls')]],
    ['Wait of whoever is next', ' s', ['waited', 'was told'], (all) => {
        const waits = all.waits();
        return [waits.map((wait) => [wait.at, wait.waited]), waits.map((wait) => [wait.at, wait.told])];
    }],
].map(([title, unit, names, read]) => ({ draw: chart(at('charts'), title, unit, names), read }));

function drawCharts() {
    const to = series.newest;
    if (!to) return;
    const from = to - Number(at('span').value) * 1000;
    for (const { draw, read } of charts) draw(read(series), from, to);
}

function row(cells, classes = []) {
    const line = document.createElement('tr');
    cells.forEach((text, index) => {
        const cell = document.createElement(index === 0 ? 'th' : 'td');
        if (index === 0) cell.scope = 'row';
        cell.textContent = text;
        if (classes[index]) cell.className = classes[index];
        line.append(cell);
    });
    return line;
}

function renderServer(server) {
    const now = performance.now();
    // Behind a balancer another one may answer each time, and each has counters of its own.
    const recent = looks.filter((look) => now - look.at <= WINDOW_MS + EVERY_MS / 2);
    const before = recent.find((look) => look.server.id === server.id);
    looks = [...recent, { at: now, server }];
    const seconds = before ? (now - before.at) / 1000 : null;
    const rate = (count) => shown(seconds ? count / seconds : null);

    set('server', server.id);
    const sum = (counts) => Object.values(counts).reduce((one, other) => one + other, 0);
    const failed = (statuses) => sum(Object.fromEntries(
        Object.entries(statuses).filter(([status]) => status.startsWith('5'))));
    const routes = server.routes.map((route) => {
        const same = (other) => other.route === route.route && other.method === route.method;
        const old = before?.server.routes.find(same);
        const latencies = since(route.latencies, before ? old?.latencies ?? [] : undefined);
        return {
            name: `${route.method} ${route.route}`,
            count: sum(route.statuses) - (old ? sum(old.statuses) : 0),
            failed: failed(route.statuses) - (old ? failed(old.statuses) : 0),
            p50: quantile(0.5, latencies, server.latencyBounds),
            p99: quantile(0.99, latencies, server.latencyBounds),
        };
    });
    routes.sort((one, other) => other.count - one.count || one.name.localeCompare(other.name));
    at('routes').replaceChildren(...routes.map((route) => row(
        [route.name, rate(route.count), duration(route.p50), duration(route.p99), shown(route.failed)],
        ['', '', '', '', route.failed ? 'bad' : ''],
    )));
    const codes = Object.entries(server.refusals).sort(([, one], [, other]) => other - one);
    at('refusals').replaceChildren(...codes.map(([code, count]) => row(
        [code, rate(count - (before?.server.refusals[code] ?? 0)), shown(count)],
    )));
    renderHealth(server, before?.server);
}

function renderHealth(server, before) {
    const quick = (store) => {
        const latencies = since(server[store].latencies, before?.[store].latencies);
        const [p50, p99] = [0.5, 0.99].map((share) => quantile(share, latencies, server.latencyBounds));
        return `p50 ${duration(p50)}, p99 ${duration(p99)}`;
    };
    const { redis, postgres } = server;
    const rows = redis.nodes.map((node) => row(
        [`Redis ${node.name}`, node.up ? 'up' : 'does not answer'], ['', node.up ? 'good' : 'bad']));
    if (redis.nodes.length === 0) rows.push(row(['Redis', 'nobody is known to take writes'], ['', 'bad']));
    const failures = (store) => server[store].failures - (before?.[store].failures ?? server[store].failures);
    const silent = server.missing.some((fault) => fault.startsWith('PostgreSQL'));
    rows.push(
        row(['Redis calls', quick('redis')]),
        row(['Redis calls without an answer', shown(failures('redis'))], ['', failures('redis') ? 'bad' : '']),
        row(['PostgreSQL', silent ? 'does not answer' : 'up'], ['', silent ? 'bad' : 'good']),
        row(['PostgreSQL statements', quick('postgres')]),
        row(['Statements without an answer', shown(failures('postgres'))], ['', failures('postgres') ? 'bad' : '']),
        row(['PostgreSQL connections in use',
            `${postgres.connections - postgres.connectionsIdle} of ${postgres.connectionsMax}`]),
        row(['Requests in work', `${server.requestsInWork} of ${server.requestsInWorkMax}`]),
    );
    for (const [job, age] of Object.entries(server.jobs)) {
        rows.push(row([`Job ${job}`, `${duration(age)} ago`]));
    }
    at('health').replaceChildren(...rows);
}

if (session.token) begin();
else show(false);
