// The steps of a purchase, as somebody with a mouse or a finger does them, in English.

/** Opens the page and joins the line of a concert. */
export async function join(page, concert = 'Winter night') {
    await page.goto('/');
    await page.getByRole('link', { name: concert }).click();
    await page.getByRole('button', { name: 'Join the line' }).click();
}

/** Waits until it is this page's turn. */
export async function turn(page) {
    await page.getByRole('heading', { name: 'Choose your seats' }).waitFor();
}

/** A seat of the map. */
export function seat(page, number) {
    return page.getByRole('button', { name: new RegExp(`^Seat ${number}, `) });
}

/** Chooses seats and holds them. */
export async function hold(page, ...numbers) {
    for (const number of numbers) await seat(page, number).click();
    await page.getByRole('button', { name: 'Hold these seats' }).click();
}

/** Charges what is missing, and pays. */
export async function pay(page) {
    await page.getByRole('button', { name: /^Charge / }).click();
    await page.getByRole('button', { name: /^Pay / }).click();
    await page.getByRole('heading', { name: 'See you there' }).waitFor();
}

/** The page as somebody sees it who comes back. */
export async function reload(page) {
    await page.reload({ waitUntil: 'load' });
}
