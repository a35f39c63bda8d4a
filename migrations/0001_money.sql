-- What must be true for ever: balances, payments, who owns a seat, and the rows that prove it.
--
-- Nothing here knows concerts, waiting or active tokens or holds: those live in Redis, and when the
-- two stores disagree, this one is right. Amounts are integers in the smallest unit of the currency.

create table balances (
    user_id bigint constraint balances_pkey primary key,
    balance bigint not null,
    constraint balances_user_id_range check (user_id between 1 and 9007199254740991),
    constraint balances_balance_range check (balance between 0 and 1000000000000)
);

-- One row per purchase. A place of a concert's line buys once, whatever its token looked like.
create table payments (
    id uuid constraint payments_pkey primary key,
    user_id bigint not null,
    concert_id integer not null,
    place bigint not null,
    total bigint not null,
    paid_at timestamptz not null,
    -- When Redis was told: seats marked sold, holds dropped, token consumed. Null: not yet.
    redis_synced_at timestamptz,
    constraint payments_concert_id_place_key unique (concert_id, place),
    constraint payments_user_id_range check (user_id between 1 and 9007199254740991),
    constraint payments_concert_id_range check (concert_id between 1 and 4194303),
    constraint payments_place_range check (place between 1 and 1125899906842623),
    constraint payments_total_range check (total between 0 and 1000000000000)
);
create index payments_unsynced_index on payments (paid_at) where redis_synced_at is null;
create index payments_concert_id_paid_at_index on payments (concert_id, paid_at, id);
create index payments_user_id_paid_at_index on payments (user_id, paid_at);

-- The one constraint that no seat is sold twice rests on.
create table owned_seats (
    concert_id integer not null,
    concert_date date not null,
    seat_number integer not null,
    payment_id uuid not null,
    reservation_id uuid not null,
    price bigint not null,
    constraint owned_seats_pkey primary key (concert_id, concert_date, seat_number),
    constraint owned_seats_reservation_id_key unique (reservation_id),
    constraint owned_seats_payment_id_fkey foreign key (payment_id) references payments (id),
    constraint owned_seats_seat_number_range check (seat_number between 1 and 100000),
    constraint owned_seats_price_range check (price between 0 and 1000000000000)
);
create index owned_seats_payment_id_index on owned_seats (payment_id);

-- Append-only: one row per change of a balance. Within a user, `id` follows the order of the
-- changes, because it is drawn while the user's row in `balances` is locked.
create table ledger (
    id bigint generated always as identity constraint ledger_pkey primary key,
    user_id bigint not null,
    request_id uuid not null,
    -- Positive for a charge, negative (or 0, a free seat) for a payment.
    amount bigint not null,
    balance_after bigint not null,
    payment_id uuid,
    created_at timestamptz not null,
    constraint ledger_request_id_key unique (request_id),
    constraint ledger_payment_id_key unique (payment_id),
    constraint ledger_user_id_fkey foreign key (user_id) references balances (user_id),
    constraint ledger_payment_id_fkey foreign key (payment_id) references payments (id),
    constraint ledger_balance_after_range check (balance_after between 0 and 1000000000000),
    constraint ledger_amount_sign check (
        (payment_id is null and amount > 0) or (payment_id is not null and amount <= 0)
    )
);
create index ledger_user_id_index on ledger (user_id, id);

create function ledger_refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the ledger is append-only';
end
$$;
create trigger ledger_append_only before update or delete on ledger
    for each row execute function ledger_refuse_change();

create table idempotency_keys (
    user_id bigint not null,
    key text not null,
    endpoint text not null,
    fingerprint bytea not null,
    -- Set before the statement that inserted the row ends: nobody else ever sees it null.
    answer jsonb,
    created_at timestamptz not null,
    constraint idempotency_keys_pkey primary key (user_id, key),
    constraint idempotency_keys_key_length check (length(key) between 1 and 255),
    constraint idempotency_keys_endpoint_known check (endpoint in ('charge', 'pay'))
);

-- Both functions below are called once, in one autocommit statement, and lock in one order: key,
-- payment, seats (ascending), balance. A refusal that must undo what was inserted is raised:
--   ON001 the deadline has passed     ON002 the key was used for another request
--   ON003 too little money            ON004 the balance would be too large
--   ON005 a seat is sold              ON006 another user paid with this place
-- `detail` carries the fact that the client needs.

-- After the last lock, so that a copy that was delayed on its way cannot act late. The server chose
-- the deadline on this clock.
create function onsale_check_deadline(p_deadline timestamptz) returns void language plpgsql as $$
begin
    if clock_timestamp() > p_deadline then
        raise exception using errcode = 'ON001', message = 'the deadline of the statement has passed';
    end if;
end
$$;

-- Takes the key for this request, or answers what the first request with it was told. An in-flight
-- first request is waited for: if it is undone, the key is taken.
create function onsale_take_key(
    p_user bigint, p_key text, p_endpoint text, p_fingerprint bytea
) returns jsonb language plpgsql volatile as $$
declare
    v_row idempotency_keys%rowtype;
begin
    if p_key is null then
        return null;
    end if;
    insert into idempotency_keys (user_id, key, endpoint, fingerprint, created_at)
    values (p_user, p_key, p_endpoint, p_fingerprint, clock_timestamp())
    on conflict do nothing;
    if found then
        return null;
    end if;
    select * into strict v_row from idempotency_keys where user_id = p_user and key = p_key;
    if v_row.endpoint <> p_endpoint or v_row.fingerprint <> p_fingerprint then
        raise exception using errcode = 'ON002', message = 'the key was used for another request';
    end if;
    return v_row.answer;
end
$$;

-- Adds money to a balance. Answers the balance right after this charge, also when repeated.
create function onsale_charge(
    p_request uuid, p_user bigint, p_amount bigint,
    p_deadline timestamptz, p_key text, p_fingerprint bytea
) returns table (balance_after bigint, replayed boolean)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    v_answer jsonb;
    v_balance bigint;
begin
    v_answer := onsale_take_key(p_user, p_key, 'charge', p_fingerprint);
    if v_answer is not null then
        return query select (v_answer ->> 'balance')::bigint, true;
        return;
    end if;

    insert into balances (user_id, balance) values (p_user, 0) on conflict do nothing;
    select balance into strict v_balance from balances where user_id = p_user for no key update;

    -- A copy of this statement has the same user, so it was waiting for that row.
    return query select l.balance_after, true from ledger l where l.request_id = p_request;
    if found then
        return;
    end if;

    perform onsale_check_deadline(p_deadline);
    if v_balance + p_amount > 1000000000000 then
        raise exception using errcode = 'ON004', message = 'the balance would be too large',
            detail = v_balance::text;
    end if;
    update balances set balance = balance + p_amount where user_id = p_user
    returning balance into strict v_balance;
    insert into ledger (user_id, request_id, amount, balance_after, created_at)
    values (p_user, p_request, p_amount, v_balance, clock_timestamp());
    if p_key is not null then
        update idempotency_keys set answer = jsonb_build_object('balance', v_balance)
        where user_id = p_user and key = p_key;
    end if;
    return query select v_balance, false;
end
$$;

-- A payment with everything an answer shows of it. The arrays are parallel: one entry per seat.
create view payment_details as
select
    p.id as payment_id, p.user_id, p.concert_id, p.place, p.paid_at, l.balance_after,
    seats.dates, seats.seats, seats.reservations, seats.prices
from payments p
join ledger l on l.payment_id = p.id
cross join lateral (
    select
        array_agg(o.concert_date order by o.concert_date, o.seat_number) as dates,
        array_agg(o.seat_number order by o.concert_date, o.seat_number) as seats,
        array_agg(o.reservation_id order by o.concert_date, o.seat_number) as reservations,
        array_agg(o.price order by o.concert_date, o.seat_number) as prices
    from owned_seats o
    where o.payment_id = p.id
) as seats;

-- Turns the holds of a place into owned seats and debits their user, or answers the payment that
-- the key or the place already has: then its concert and place may be others than were asked for.
-- The arrays are parallel: one entry per seat.
create function onsale_pay(
    p_request uuid, p_payment uuid, p_user bigint, p_concert integer, p_place bigint,
    p_dates date[], p_seats integer[], p_reservations uuid[], p_prices bigint[],
    p_deadline timestamptz, p_key text, p_fingerprint bytea
) returns table (
    replayed boolean, payment_id uuid, user_id bigint, concert_id integer, place bigint,
    paid_at timestamptz, balance_after bigint,
    dates date[], seats integer[], reservations uuid[], prices bigint[]
)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    v_answer jsonb;
    v_now timestamptz := clock_timestamp();
    v_total bigint;
    v_balance bigint;
    v_payment uuid;
    v_payer bigint;
    v_taken text;
begin
    v_answer := onsale_take_key(p_user, p_key, 'pay', p_fingerprint);
    if v_answer is not null then
        return query select true, d.* from payment_details d
        where d.payment_id = (v_answer ->> 'paymentId')::uuid;
        return;
    end if;

    select coalesce(sum(price), 0) into v_total from unnest(p_prices) as price;
    insert into payments (id, user_id, concert_id, place, total, paid_at)
    values (p_payment, p_user, p_concert, p_place, v_total, v_now)
    on conflict on constraint payments_concert_id_place_key do nothing;
    if not found then
        select p.id, p.user_id into strict v_payment, v_payer
        from payments p where p.concert_id = p_concert and p.place = p_place;
        if v_payer <> p_user then
            raise exception using errcode = 'ON006', message = 'another user paid with this place';
        end if;
        if p_key is not null then
            perform onsale_check_deadline(p_deadline);
            update idempotency_keys k set answer = jsonb_build_object('paymentId', v_payment)
            where k.user_id = p_user and k.key = p_key;
        end if;
        return query select true, d.* from payment_details d where d.payment_id = v_payment;
        return;
    end if;

    -- Ascending, so that two payments with several seats in common cannot wait for each other.
    insert into owned_seats (concert_id, concert_date, seat_number, payment_id, reservation_id, price)
    select p_concert, w.concert_date, w.seat_number, p_payment, w.reservation_id, w.price
    from unnest(p_dates, p_seats, p_reservations, p_prices)
        as w (concert_date, seat_number, reservation_id, price)
    order by w.concert_date, w.seat_number
    on conflict do nothing;
    select w.concert_date || ':' || w.seat_number into v_taken
    from unnest(p_dates, p_seats) as w (concert_date, seat_number)
    where not exists (
        select from owned_seats o
        where o.concert_id = p_concert and o.concert_date = w.concert_date
            and o.seat_number = w.seat_number and o.payment_id = p_payment
    )
    order by w.concert_date, w.seat_number
    limit 1;
    if v_taken is not null then
        raise exception using errcode = 'ON005', message = 'a seat is sold', detail = v_taken;
    end if;

    -- A free seat needs no money, but a ledger row all the same.
    if v_total = 0 then
        insert into balances (user_id, balance) values (p_user, 0) on conflict do nothing;
    end if;
    update balances b set balance = b.balance - v_total
    where b.user_id = p_user and b.balance >= v_total
    returning b.balance into v_balance;
    if not found then
        select b.balance into v_balance from balances b where b.user_id = p_user;
        raise exception using errcode = 'ON003', message = 'too little money',
            detail = coalesce(v_balance, 0)::text;
    end if;

    perform onsale_check_deadline(p_deadline);
    insert into ledger (user_id, request_id, amount, balance_after, payment_id, created_at)
    values (p_user, p_request, -v_total, v_balance, p_payment, v_now);
    if p_key is not null then
        update idempotency_keys k set answer = jsonb_build_object('paymentId', p_payment)
        where k.user_id = p_user and k.key = p_key;
    end if;
    return query select
        false, p_payment, p_user, p_concert, p_place, v_now, v_balance,
        p_dates, p_seats, p_reservations, p_prices;
end
$$;
