// What all parts of the dashboard work with: who asks the server, and how an answer is told.

const TOKEN = 'onsale.operator';
const TIMEOUT_MS = 5_000;

export const at = (id) => document.getElementById(id);

/** Sets the text of an element, if it is another. */
export const set = (id, text) => {
    if (at(id).textContent !== text) at(id).textContent = text;
};

/** The operators' token, in this tab alone. */
export const session = {
    token: sessionStorage.getItem(TOKEN),
    keep() {
        sessionStorage.setItem(TOKEN, this.token);
    },
    forget() {
        this.token = null;
        sessionStorage.removeItem(TOKEN);
    },
};

/** The server said no: `status`, `code` and a sentence. */
class Refused extends Error {
    constructor(status, problem) {
        super(problem.detail ?? `the server answered ${status}`);
        this.status = status;
        this.code = problem.code;
    }

    /** Whether it is the operators' token that is refused. */
    get isSignedOut() {
        return this.code === 'unauthenticated';
    }

    /** Whether it may have been done all the same. */
    get isUnsure() {
        return this.code === 'outcome-unknown';
    }
}

/** Asks the server; `options` may have a `method` and a `body`. */
export async function ask(path, { method = 'GET', body } = {}) {
    const headers = { Authorization: `Bearer ${session.token}` };
    const request = { method, headers, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) };
    if (body) {
        headers['Content-Type'] = 'application/json';
        request.body = JSON.stringify(body);
    }
    const answer = await fetch(path, request).catch(() => {
        throw Object.assign(new Error('the server does not answer'), { isUnsure: method !== 'GET' });
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refused(answer.status, said);
    return said;
}

/** Leaves the dashboard; whoever shows it sets what that means. */
export const door = { leave: () => {} };

/**
 * Does what an operator asked for, and says below it what became of it.
 *
 * @param {string} where  the id of the place for that sentence
 * @param {() => Promise<string>} work  gives the sentence; "" if what was shown is enough
 * @returns {Promise<boolean>} whether it was done
 */
export async function attempt(where, work) {
    at(where).classList.remove('failed');
    set(where, 'One moment …');
    try {
        set(where, await work());
        return true;
    } catch (error) {
        if (error.isSignedOut) {
            door.leave('The token is not accepted any more.');
            return false;
        }
        at(where).classList.add('failed');
        set(where, `${error.isUnsure ? 'Perhaps done' : 'Not done'}: ${error.message}.`);
        return false;
    }
}
