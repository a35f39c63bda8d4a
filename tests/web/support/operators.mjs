// What an operator does on the dashboard, and what it says.

import { ADMIN_TOKEN } from './onsale.mjs';

/** Opens the dashboard and signs in. */
export async function signIn(page) {
    await page.goto('/ops');
    await enter(page);
}

/** Signs in where the dashboard asks for the token. */
export async function enter(page) {
    await page.getByLabel("Operators' token").fill(ADMIN_TOKEN);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText(/^Live, server/).waitFor();
}

/** The numbers that it shows, by the id of their place, and when they were looked at. */
export async function shown(page, ids) {
    return page.evaluate((names) => {
        const number = (id) => Number(document.getElementById(id).textContent.replaceAll(',', ''));
        return { at: Date.now(), ...Object.fromEntries(names.map((id) => [id, number(id)])) };
    }, ids);
}
