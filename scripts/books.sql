-- Whether the books balance: one line per rule, with the number of rows that break it. All must be 0.
--
--   psql -X -At -d "$ONSALE_DATABASE_URL" -f books.sql
--
-- Reads only, each line whole tables: not on the primary in the minute of the opening.

select 'seats with two owners' as rule, count(*) as breaches
from (
    select from owned_seats group by concert_id, concert_date, seat_number having count(*) > 1
) as twice
union all
select 'users whose balance is not the sum of their ledger', count(*)
from balances
full join (select user_id, sum(amount) as total from ledger group by user_id) as sums using (user_id)
-- A balance of 0 needs no ledger.
where balance is distinct from total and (balance, total) is distinct from (0::bigint, null::numeric)
union all
select 'ledger rows whose balance is not the running sum', count(*)
from (
    select balance_after, sum(amount) over (partition by user_id order by id) as running from ledger
) as rows
where balance_after <> running
union all
select 'payments without exactly one debit of the price of their seats', count(*)
from payments p
where p.total is distinct from (select sum(price) from owned_seats o where o.payment_id = p.id)
    or (select array_agg(-amount) from ledger l where l.payment_id = p.id) is distinct from array[p.total]
union all
select 'debits without a payment', count(*)
from ledger l
where l.amount <= 0 and not exists (select from payments p where p.id = l.payment_id)
union all
select 'money charged that is neither in a balance nor paid',
    abs(
        coalesce((select sum(amount) from ledger where payment_id is null), 0)
        - coalesce((select sum(total) from payments), 0)
        - coalesce((select sum(balance) from balances), 0)
    )
union all
select 'payments that Redis was not told of for a minute', count(*)
from payments
where redis_synced_at is null and paid_at < clock_timestamp() - interval '1 minute';
